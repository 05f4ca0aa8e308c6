"""One named exception per cause. Every message says what must hold, what was found, where, and what to do."""

from __future__ import annotations


class FastloadError(Exception):
    """Base of everything fastload raises on purpose."""


# --- what is wrong with a file -------------------------------------------------------------------


class FormatError(FastloadError):
    """The bytes do not follow the block format (foreign file, broken structure, non-zero padding)."""


class VersionError(FormatError):
    """The file was written by a format version this build does not read."""


class SealedError(FormatError):
    """The file is encrypted and this build holds no means to open it."""


class TruncatedError(FormatError):
    """The file is shorter than its own tail or manifest says."""


class ChecksumError(FormatError):
    """Stored bytes changed since they were written."""


class LimitError(FormatError):
    """A number exceeds a limit of the format (see csrc/core/layout.h)."""


class ManifestError(FormatError):
    """manifest.json is damaged or contradicts its own checksum."""


class NotADatasetError(FastloadError, FileNotFoundError):
    """The path holds no fastload data set (no manifest.json)."""


class ShardMissingError(FastloadError, FileNotFoundError):
    """The manifest names a shard that is not there."""


class ShardChangedError(FormatError):
    """A shard is not the one the manifest was written for."""


class MapLostError(FastloadError, OSError):
    """A file shrank or its storage failed while it was mapped."""


class RefusedValueError(FastloadError, ValueError):
    """A transform met a value that it has no answer to; the message names field and row."""


class NotFittedError(FastloadError, ValueError, AttributeError):
    """A transform was used before it knew what it has to know: fit it, or give data with statistics."""


class TooManySkippedError(FastloadError):
    """More rows could not be read than `skip_limit` lets a pass leave out."""


# --- what is wrong with what the caller gave -----------------------------------------------------


class ArgumentError(FastloadError, ValueError):
    """An argument has a value that has no meaning."""


class SchemaError(FastloadError, ValueError):
    """A schema, or data given for it, contradicts itself."""


class UnknownFieldError(FastloadError, KeyError):
    """A field was named that the schema does not have."""

    __str__ = Exception.__str__  # KeyError would print the message as a quoted repr


class DtypeError(FastloadError, TypeError):
    """Data of another type than the field's."""


class ShapeError(FastloadError, ValueError):
    """Data of another shape than the field's, or columns of unequal length."""


class PlanError(FastloadError, ValueError):
    """A cleaning plan that cannot be read, or that asks for what there is not."""


class StateError(FastloadError, ValueError):
    """A saved state that is not one of this loader's, or of other data."""


class EmptyError(FastloadError, ValueError):
    """There are no rows where at least one is needed."""


class RowIndexError(FastloadError, IndexError):
    """A row number outside the data set."""


class ClosedError(FastloadError, ValueError):
    """The object was closed before it was used."""


class MissingExtraError(FastloadError, ImportError):
    """A package is needed that is not installed.

    >>> print(MissingExtraError("pyarrow", extra="arrow"))
    this needs the package 'pyarrow', which is not installed; run: pip install "fastload[arrow]"
    """

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f'this needs the package {package!r}, which is not installed; run: pip install "fastload[{extra}]"'
        )


class IngestError(FastloadError, ValueError):
    """Foreign data that cannot be read as asked. `path`, `row` and `field` say where, None if unknown."""

    def __init__(self, message: str, *, path: object = None, row: int | None = None, field: str | None = None) -> None:
        places = [
            f"{name} {value!r}" if name != "row" else f"row {value}"
            for name, value in (("file", str(path) if path else None), ("row", row), ("field", field))
            if value is not None
        ]
        super().__init__(f"{message} [{', '.join(places)}]" if places else message)
        self.path, self.row, self.field = path, row, field


# --- what is wrong with data to balance ----------------------------------------------------------


class OneClassError(FastloadError, ValueError):
    """All labels are of one class: there is nothing to balance."""


class UnknownClassError(FastloadError, ValueError):
    """A class was named that no label is of."""


class StrategyError(FastloadError, ValueError):
    """A sampling_strategy that has no meaning for this sampler, or asks for what cannot be had of these classes."""


class TooFewRowsError(FastloadError, ValueError):
    """A class has fewer rows than neighbours are to be found for each of them."""


class NotFiniteError(FastloadError, ValueError):
    """A NaN or an infinity where what is computed needs finite numbers: distances between rows, gradients."""


class NotNumbersError(FastloadError, ValueError):
    """Text or categories where distances between rows are needed."""


class NoForeignNeighborsError(FastloadError, RuntimeError):
    """No row of a class has a neighbour of another one, so that ADASYN knows no place to add rows at."""


class NothingInDangerWarning(UserWarning):
    """No row of a class lies at the border to another one: BorderlineSMOTE added none to it."""


class DivergedError(FastloadError, ArithmeticError):
    """Training gave a loss that is no finite number."""


class UnknownCategoryError(FastloadError, ValueError):
    """A value that was not among those a model was trained on."""


class ConditionError(FastloadError, ValueError):
    """A condition that no row can meet."""


class UnfaithfulError(FastloadError, ValueError):
    """Synthetic data are too unlike the real ones, or too near to them; the message names each measure that failed."""


# --- what is wrong with the place ----------------------------------------------------------------


class ExistsError(FastloadError, FileExistsError):
    """The destination exists and neither overwrite nor append was asked for."""


class LockedError(FastloadError, BlockingIOError):
    """Another writer is at work in this folder."""


class FileIOError(FastloadError, OSError):
    """The operating system refused a read or a write."""


class DiskFullError(FileIOError):
    """The disk (or the quota) is full; nothing half-written was left."""
