"""Balancing: tables whose classes are of very unequal size, the way of imbalanced-learn.

`fit_resample` of an estimator makes another table: rows of large classes are left out, rows of small ones repeated or made anew.
"""

from importlib.util import find_spec

from fastload.errors import MissingExtraError

if find_spec("sklearn") is None:
    raise MissingExtraError("scikit-learn", extra="balance")

from fastload.balance.adasyn import ADASYN
from fastload.balance.borderline import BorderlineSMOTE
from fastload.balance.neighbors import NearestNeighbors
from fastload.balance.over import RandomOverSampler
from fastload.balance.smote import SMOTE
from fastload.balance.smotenc import SMOTENC
from fastload.balance.under import RandomUnderSampler

__all__ = [
    "ADASYN",
    "SMOTE",
    "SMOTENC",
    "BorderlineSMOTE",
    "NearestNeighbors",
    "RandomOverSampler",
    "RandomUnderSampler",
]
