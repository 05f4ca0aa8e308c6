"""What is done to values before they are a batch: fit / transform objects that become calls of kernels."""

from fastload.transform.augment import RandomCrop, RandomErase, RandomFlip, RandomRotate, RandomTranslate
from fastload.transform.base import Transform, load_transform
from fastload.transform.cast import Cast
from fastload.transform.clip import Clip
from fastload.transform.compose import Compose
from fastload.transform.encode import OneHot, Ordinal
from fastload.transform.impute import Impute
from fastload.transform.normalize import Normalize

__all__ = [
    "Cast",
    "Clip",
    "Compose",
    "Impute",
    "Normalize",
    "OneHot",
    "Ordinal",
    "RandomCrop",
    "RandomErase",
    "RandomFlip",
    "RandomRotate",
    "RandomTranslate",
    "Transform",
    "load_transform",
]
