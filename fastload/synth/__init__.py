"""Samples that no data set holds: synthetic rows and images, measured for likeness and privacy, and adversarial ones.

columns, constraints             tables as codes, and what every row must obey
training, training_page          the loop that all models share; a page of how it goes
tables                           what models of tables share: autoregressive, table_vae, table_gan
gan, images                      generators against discriminators, of anything and of images
autoencoder, image_vae           rows and images as a few numbers, and back
mixing                           synthetic rows in the batches of a loader
fidelity, privacy, quality       how alike, how revealing; the report, its limits, its page
differential_privacy             training whose result hardly depends on any single row
adversarial, perturbation        inputs moved a little, so that a model errs

Names are resolved when they are first used; most need torch, those about tables polars as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "adversarial": ("FGSM", "PGD", "Robustness", "robustness"),
    "autoencoder": ("Autoencoder",),
    "autoregressive": ("TableAutoregressor",),
    "columns": ("Columns",),
    "constraints": ("FixedCombinations", "Inequality", "Predicate"),
    "differential_privacy": ("DifferentialPrivacy",),
    "gan": ("GANTrainer",),
    "image_vae": ("ImageVAE",),
    "images": ("ImageGAN",),
    "mixing": ("Mixed",),
    "page": ("synthesis_page",),
    "perturbation": ("PerturbationGAN",),
    "quality": ("Limits", "SynthesisReport", "check_synthetic", "failures"),
    "synthesizers": ("load_synthesizer",),
    "table_gan": ("TableGAN",),
    "table_vae": ("TableVAE",),
    "training_page": ("TrainingPage",),
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fastload.synth' has no attribute {name!r}")
    value = getattr(import_module(f"fastload.synth.{_PUBLIC[name]}"), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return __all__
