"""A table's way from the type it came in to numbers, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import sparse

from fastload.errors import NotFiniteError, NotNumbersError


def is_frame(X: Any) -> bool:
    """A pandas DataFrame; pandas is not imported for it."""
    return type(X).__module__.partition(".")[0] == "pandas" and getattr(X, "ndim", 0) == 2


def is_sparse_frame(X: Any) -> bool:
    """A frame that stores only what differs from 0, in each column."""
    return is_frame(X) and all(type(dtype).__name__ == "SparseDtype" for dtype in X.dtypes)


def rows_of(table: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, a sparse matrix or a frame; those of a frame keep their labels."""
    return table.iloc[rows] if is_frame(table) else table[rows]


def restored(values: Any, given: Any) -> Any:
    """The rows of `given` and new ones, in its type: a list, a frame with the same columns and dtypes, or as they are.

    values : array or sparse matrix [rows given + new rows, columns]
    """
    if isinstance(given, list):
        return values.tolist()
    if not is_frame(given):
        return values
    import pandas as pd

    if sparse.issparse(values):
        return pd.DataFrame.sparse.from_spmatrix(values, columns=given.columns).astype(given.dtypes)
    if all(dtype == values.dtype for dtype in given.dtypes):
        return pd.DataFrame(values, columns=given.columns, copy=False)
    return frame_of(given, (as_dtype(values[len(given) :, i], dtype) for i, dtype in enumerate(given.dtypes)))


def frame_of(given: Any, new: Iterable[Any]) -> Any:
    """A frame's rows as they are, and after them new ones. new : a Series for each column, in its dtype."""
    import pandas as pd

    columns = {i: pd.concat([given.iloc[:, i], more], ignore_index=True) for i, more in enumerate(new)}
    return pd.DataFrame(columns, copy=False).set_axis(given.columns, axis=1)


def as_dtype(values: np.ndarray, dtype: Any) -> Any:
    """A column of a frame, in this dtype; whole numbers are cut off, as by NumPy."""
    import pandas as pd

    if pd.api.types.is_integer_dtype(dtype) and values.dtype.kind == "f":
        values = np.trunc(values)
    return pd.Series(values).astype(dtype)


def check_numbers(X: Any, who: str) -> None:
    """Frames and arrays whose text or categories nobody declared."""
    if is_frame(X):
        import pandas as pd

        for name, dtype in zip(X.columns, X.dtypes):
            if isinstance(dtype, pd.CategoricalDtype) or isinstance(dtype, pd.StringDtype):
                raise _not_numbers(who, f"column {name!r} is of {dtype}")
    elif getattr(getattr(X, "dtype", None), "kind", None) in ("U", "S"):
        raise _not_numbers(who, f"X is an array of {X.dtype}")


def as_numbers_error(error: ValueError, who: str, X: Any) -> ValueError:
    """scikit-learn's complaint about text among objects, under its own name; other complaints as they are."""
    if not str(error).startswith("could not convert string"):
        return error
    text = [name for name in X.columns if any(isinstance(v, str) for v in X[name])] if is_frame(X) else []
    return _not_numbers(who, f"column {text[0]!r} holds text" if text else str(error))


def _not_numbers(who: str, found: str) -> NotNumbersError:
    return NotNumbersError(
        f"{who} computes with rows, so that X must hold numbers; {found}. Encode such columns first, or take them for "
        "categories: SMOTENC(categorical_features=[...])"
    )


def check_finite(X: Any, who: str, names: Any = None) -> None:
    """NotFiniteError where a value is NaN or infinite. X : array [rows, columns] or sparse matrix."""
    values = X.data if sparse.issparse(X) else X
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):  # a single pass, and no array of truth values
            return
    wrong = ~np.isfinite(values)
    if not wrong.any():  # the sum alone overflowed
        return
    kind = "NaN" if np.isnan(values[wrong]).any() else "infinity"
    where = ""
    if not sparse.issparse(X):
        row, column = np.argwhere(wrong)[0]
        where = f", the first in row {row}, column {column if names is None else repr(names[column])}"
    raise NotFiniteError(
        f"{who} computes with rows, so that X must be finite; it contains {kind} ({wrong.sum()} such values{where}). "
        "Fill them in first (fastload.Impute), or leave these rows out"
    )
