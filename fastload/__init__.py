"""fastload: training data at the speed of memory.

Importing this package loads neither torch, numba nor pyarrow; names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastload import errors
    from fastload.balance import (
        ADASYN,
        SMOTE,
        SMOTENC,
        BorderlineSMOTE,
        NearestNeighbors,
        RandomOverSampler,
        RandomUnderSampler,
    )
    from fastload.block.dataset import Dataset
    from fastload.block.dataset import open_dataset as open
    from fastload.block.padding import Padding
    from fastload.block.writer import Writer, write
    from fastload.clean import Plan as CleanPlan
    from fastload.clean import check_quality, clean_file, propose_plan
    from fastload.ingest import convert, to_arrow, to_parquet
    from fastload.load import frameworks
    from fastload.load.dataloader import DataLoader
    from fastload.load.iterable import IterableDataset
    from fastload.load.packing import Packing
    from fastload.plan.buckets import LengthBuckets
    from fastload.plan.samplers import WeightedSampler
    from fastload.schema import Categorical, Field, Ragged, Schema
    from fastload.synth import (
        FGSM,
        PGD,
        Autoencoder,
        GANTrainer,
        ImageGAN,
        ImageVAE,
        PerturbationGAN,
        TableAutoregressor,
        TableGAN,
        TableVAE,
        check_synthetic,
        load_synthesizer,
    )
    from fastload.transform import (
        Cast,
        Clip,
        Compose,
        Impute,
        Normalize,
        OneHot,
        Ordinal,
        RandomCrop,
        RandomErase,
        RandomFlip,
        RandomRotate,
        RandomTranslate,
        load_transform,
    )

_PUBLIC = {
    "ADASYN": ("fastload.balance", "ADASYN"),
    "Autoencoder": ("fastload.synth", "Autoencoder"),
    "BorderlineSMOTE": ("fastload.balance", "BorderlineSMOTE"),
    "Cast": ("fastload.transform", "Cast"),
    "Categorical": ("fastload.schema", "Categorical"),
    "CleanPlan": ("fastload.clean", "Plan"),
    "Clip": ("fastload.transform", "Clip"),
    "Compose": ("fastload.transform", "Compose"),
    "DataLoader": ("fastload.load.dataloader", "DataLoader"),
    "Dataset": ("fastload.block.dataset", "Dataset"),
    "FGSM": ("fastload.synth", "FGSM"),
    "Field": ("fastload.schema", "Field"),
    "GANTrainer": ("fastload.synth", "GANTrainer"),
    "ImageGAN": ("fastload.synth", "ImageGAN"),
    "ImageVAE": ("fastload.synth", "ImageVAE"),
    "Impute": ("fastload.transform", "Impute"),
    "IterableDataset": ("fastload.load.iterable", "IterableDataset"),
    "LengthBuckets": ("fastload.plan.buckets", "LengthBuckets"),
    "NearestNeighbors": ("fastload.balance", "NearestNeighbors"),
    "Normalize": ("fastload.transform", "Normalize"),
    "OneHot": ("fastload.transform", "OneHot"),
    "Ordinal": ("fastload.transform", "Ordinal"),
    "PGD": ("fastload.synth", "PGD"),
    "Packing": ("fastload.load.packing", "Packing"),
    "Padding": ("fastload.block.padding", "Padding"),
    "PerturbationGAN": ("fastload.synth", "PerturbationGAN"),
    "Ragged": ("fastload.schema", "Ragged"),
    "RandomCrop": ("fastload.transform", "RandomCrop"),
    "RandomErase": ("fastload.transform", "RandomErase"),
    "RandomFlip": ("fastload.transform", "RandomFlip"),
    "RandomOverSampler": ("fastload.balance", "RandomOverSampler"),
    "RandomRotate": ("fastload.transform", "RandomRotate"),
    "RandomTranslate": ("fastload.transform", "RandomTranslate"),
    "RandomUnderSampler": ("fastload.balance", "RandomUnderSampler"),
    "SMOTE": ("fastload.balance", "SMOTE"),
    "SMOTENC": ("fastload.balance", "SMOTENC"),
    "Schema": ("fastload.schema", "Schema"),
    "TableAutoregressor": ("fastload.synth", "TableAutoregressor"),
    "TableGAN": ("fastload.synth", "TableGAN"),
    "TableVAE": ("fastload.synth", "TableVAE"),
    "WeightedSampler": ("fastload.plan.samplers", "WeightedSampler"),
    "Writer": ("fastload.block.writer", "Writer"),
    "check_quality": ("fastload.clean", "check_quality"),
    "check_synthetic": ("fastload.synth", "check_synthetic"),
    "clean_file": ("fastload.clean", "clean_file"),
    "convert": ("fastload.ingest", "convert"),
    "errors": ("fastload.errors", None),
    "frameworks": ("fastload.load.frameworks", None),
    "load_synthesizer": ("fastload.synth", "load_synthesizer"),
    "load_transform": ("fastload.transform", "load_transform"),
    "open": ("fastload.block.dataset", "open_dataset"),
    "propose_plan": ("fastload.clean", "propose_plan"),
    "to_arrow": ("fastload.ingest", "to_arrow"),
    "to_parquet": ("fastload.ingest", "to_parquet"),
    "write": ("fastload.block.writer", "write"),
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version("fastload")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fastload' has no attribute {name!r}")
    module_name, attribute = _PUBLIC[name]
    module = import_module(module_name)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
