"""Inception score (Salimans et al. 2016), from the logits of any classifier; published scores use Inception's."""

from typing import NamedTuple

from torch import Tensor

from gan_runner.errors import require

LEAST = -600.0  # lower bound of logit - largest logit: exp(-600) is above 0 in float64, which avoids 0 log 0 = NaN


class InceptionScore(NamedTuple):
    mean: float  # over the splits, from 1 to the number of classes
    std: float  # over the splits, population


def inception_score(logits: Tensor, splits: int = 10) -> InceptionScore:
    """exp(E_x KL(p(y|x) || p(y))) of logits (N, K), with p(y) the mean over a split, by torch-fidelity.

    Published tables have ten splits of 5,000; smaller splits score higher. Rows are first shuffled with seed 2020.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    require(1 <= splits <= len(logits), f"splits={splits} of {len(logits)} samples: use from 1 to {len(logits)}")
    logits = logits.double().cpu()
    found = isc_features_to_metric((logits - logits.amax(1, keepdim=True)).clamp(min=LEAST), splits)
    return InceptionScore(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])
