"""Error rate of a classifier."""

from collections.abc import Iterable

import torch
from torch import Tensor


def error_rate(logits_and_labels: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share, from 0 to 1, of samples whose largest logit, of (B, K), is not that of the label (B,)."""
    wrong = [logits.argmax(1) != labels for logits, labels in logits_and_labels]
    return float(torch.cat(wrong).float().mean())
