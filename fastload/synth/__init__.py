"""Samples that no data set holds: adversarial ones. Imports torch."""

from fastload.synth.adversarial import FGSM, PGD, Robustness, robustness

__all__ = ["FGSM", "PGD", "Robustness", "robustness"]
