"""What all samplers have in common: scikit-learn's ways, the checks of what comes in, and the types of what goes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any, Literal

from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from fastload.balance.labels import Labels
from fastload.balance.strategy import rows_per_class
from fastload.balance.tables import as_numbers_error, check_finite, check_numbers, is_frame
from fastload.balance.tags import BalanceTags, tags_of


class Sampler(OneToOneFeatureMixin, BaseEstimator, ABC):
    """Adds rows to a table, or takes some away, so that its classes are of the sizes asked for. Subclasses say how in `_resampled`.

    Attributes
    ----------
    sampling_strategy_ : OrderedDict
        Class -> rows to add (over-sampling) or to keep (under-sampling), sorted by class.
    n_features_in_ : int
    feature_names_in_ : array of str [columns]
        Of a frame whose columns have names.
    """

    _estimator_type = "sampler"
    _sampling: Literal["over", "under"] = "over"

    def fit(self, X: Any, y: Any) -> Sampler:
        """Checks what is given, and finds `sampling_strategy_`. See `fit_resample`, which does the work."""
        self._checked(X, y)
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The balanced table and its labels.

        Parameters
        ----------
        X : array, list, sparse matrix or DataFrame [rows, columns]
        y : array, list, Series [rows]; or one-hot [rows, classes]

        Returns
        -------
        X_resampled, y_resampled : in the types and dtypes of X and y.

        Raises
        ------
        OneClassError, UnknownClassError, StrategyError
            Of the classes and what is asked for them.
        TooFewRowsError, NotFiniteError, NotNumbersError
            Where distances between rows are needed.
        """
        table, labels = self._checked(X, y)
        return self._resampled(X, table, labels)

    def _checked(self, X: Any, y: Any) -> tuple[Any, Labels]:
        if y is None:
            validate_data(self, X=X, y=None)  # says so
        labels = Labels(y)
        table = self._table(X)
        check_consistent_length(X, y)
        self._check_parameters()
        self.sampling_strategy_ = self._strategy(labels)
        return table, labels

    def _strategy(self, labels: Labels) -> OrderedDict[Any, int]:
        return rows_per_class(self.sampling_strategy, labels.counts, self._sampling, labels.values)

    def _check_parameters(self) -> None:
        """Raises ArgumentError for parameters without meaning."""

    def _table(self, X: Any) -> Any:
        """X as the work needs it."""
        return self._finite_numbers(X)

    def _finite_numbers(self, X: Any, how: str = "") -> Any:
        """X as numbers: an array [rows, columns], or a sparse matrix (csr, csc)."""
        who = type(self).__name__ + how
        check_numbers(X, who)
        try:
            table = validate_data(self, X=X, reset=True, accept_sparse=["csr", "csc"], ensure_all_finite=False)
        except ValueError as error:
            raise as_numbers_error(error, who, X) from None
        check_finite(table, who, getattr(self, "feature_names_in_", None))
        return table

    @abstractmethod
    def _resampled(self, X: Any, table: Any, labels: Labels) -> tuple[Any, Any]:
        """As fit_resample, of what was checked. X : as it was given. table : what `_table` made of it."""

    def __sklearn_tags__(self) -> BalanceTags:
        return tags_of(sparse=True, anything=False, sample_indices=False)


class RowSampler(Sampler):
    """A sampler that takes rows as they are, whatever they hold: text, missing values, frames of any dtypes.

    Attributes
    ----------
    sample_indices_ : int64 array
        Which row of X each row of the result is.
    """

    def _table(self, X: Any) -> Any:
        validate_data(self, X=X, reset=True, skip_check_array=True)
        return X if is_frame(X) else check_array(X, dtype=None, accept_sparse=["csr", "csc"], ensure_all_finite=False)

    def __sklearn_tags__(self) -> BalanceTags:
        return tags_of(sparse=True, anything=True, sample_indices=True)
