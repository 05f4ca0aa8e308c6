"""What scikit-learn's and imbalanced-learn's checks ask about a sampler."""

from __future__ import annotations

from dataclasses import dataclass, field

from sklearn.utils import InputTags, Tags, TargetTags


@dataclass(slots=True)
class SamplerInputTags(InputTags):
    dataframe: bool = True


@dataclass(slots=True)
class SamplerTags:
    sample_indices: bool = False


@dataclass(slots=True)
class BalanceTags(Tags):
    input_tags: SamplerInputTags = field(default_factory=SamplerInputTags)
    sampler_tags: SamplerTags = field(default_factory=SamplerTags)


def tags_of(*, sparse: bool, anything: bool, sample_indices: bool) -> BalanceTags:
    """anything: text and missing values are taken as well."""
    return BalanceTags(
        estimator_type="sampler",
        target_tags=TargetTags(required=True),
        input_tags=SamplerInputTags(sparse=sparse, string=anything, allow_nan=anything),
        sampler_tags=SamplerTags(sample_indices=sample_indices),
    )
