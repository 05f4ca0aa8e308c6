"""Cleaning of tables: steps that fit, transform and report; plans of them; a quality report. Needs polars and pyarrow.

A step is ``fit`` to training data and ``transform``s any: polars and pandas frames, pyarrow Tables, dicts of arrays and arrays, and
gives back what it was given. ``dry_run`` shows the effect first; nothing is dropped or changed without being counted.
"""

from fastload.clean.auto import propose_plan
from fastload.clean.check import QualityReport, check_quality, check_statistics
from fastload.clean.columns import DropColumns, DropConstant, DropDuplicateColumns
from fastload.clean.duplicates import DropDuplicates
from fastload.clean.missing import DropMissing, DropMissingColumns, FillMissing, FlagMissing, MarkMissing
from fastload.clean.noise import ImpossibleValues, LabelNoise
from fastload.clean.outliers import IsolatedRows, Outliers
from fastload.clean.plan import CleanReport, Plan
from fastload.clean.scaling import Standardize
from fastload.clean.step import Step, StepReport
from fastload.clean.streaming import clean_file
from fastload.clean.types import OrdinalCodes, RareCategories, RepairTypes, StripText

__all__ = [
    "CleanReport",
    "DropColumns",
    "DropConstant",
    "DropDuplicateColumns",
    "DropDuplicates",
    "DropMissing",
    "DropMissingColumns",
    "FillMissing",
    "FlagMissing",
    "ImpossibleValues",
    "IsolatedRows",
    "LabelNoise",
    "MarkMissing",
    "OrdinalCodes",
    "Outliers",
    "Plan",
    "QualityReport",
    "RareCategories",
    "RepairTypes",
    "Standardize",
    "Step",
    "StepReport",
    "StripText",
    "check_quality",
    "check_statistics",
    "clean_file",
    "propose_plan",
]
