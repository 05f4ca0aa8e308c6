"""The checks of scikit-learn and of imbalanced-learn, over every sampler."""

from __future__ import annotations

import warnings

import pytest
from imblearn.utils.estimator_checks import parametrize_with_checks as imblearn_checks
from sklearn.utils.estimator_checks import parametrize_with_checks as sklearn_checks

import fastload as fl

SAMPLERS = [
    fl.RandomUnderSampler(random_state=0),
    fl.RandomOverSampler(random_state=0),
    fl.RandomOverSampler(random_state=0, shrinkage=0.5),
    fl.SMOTE(random_state=0),
    fl.BorderlineSMOTE(random_state=0),
    fl.BorderlineSMOTE(random_state=0, kind="borderline-2"),
    fl.ADASYN(random_state=0),
    fl.SMOTENC([1], random_state=0),
]


def quietly(check, estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks try things that warn, some of them in scikit-learn itself
        check(estimator)


@sklearn_checks(SAMPLERS)
def test_scikit_learn(estimator, check):
    quietly(check, estimator)


their_mark = imblearn_checks(SAMPLERS)  # with a generator, which pytest will not take for long


@pytest.mark.parametrize(their_mark.args[0], list(their_mark.args[1]), ids=their_mark.kwargs["ids"])
def test_imbalanced_learn(estimator, check):
    quietly(check, estimator)
