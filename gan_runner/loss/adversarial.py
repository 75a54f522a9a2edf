"""Adversarial terms on raw scores (B,): real high, fake low, means over the batch, natural logarithms."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import softplus


class Minimax:
    """D: E softplus(-D(x)) + E softplus(D(G(z))); G: -E softplus(D(G(z))) (Goodfellow et al. 2014, equation 1).

    Both terms of the discriminator are summed, not halved: log 4 when it cannot tell, and JS = log 2 - loss / 2.
    The generator's loss saturates: its gradient vanishes as the discriminator wins.
    """

    paired = False
    batch_statistics = False
    zero_is_boundary = True
    estimate: str | None = "js"

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -softplus(fake).mean()


class NonSaturating(Minimax):
    """D: as minimax; G: E softplus(-D(G(z))), which keeps its gradient (Goodfellow et al. 2014, section 3)."""

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return softplus(-fake).mean()


class Wasserstein:
    """D: E D(G(z)) - E D(x); G: -E D(G(z)) (Arjovsky et al. 2017). Papers call this discriminator a critic."""

    paired = False
    batch_statistics = False
    zero_is_boundary = False
    estimate: str | None = "wasserstein"

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -fake.mean()


# What a discriminator's loss without penalties says about the distance of the two distributions: tag and formula.
ESTIMATES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "wasserstein": ("wasserstein/estimate", lambda loss: -loss),
    "js": ("divergence/js_estimate", lambda loss: math.log(2) - loss / 2),  # nats; a lower bound
    "tv": ("divergence/tv_estimate", lambda loss: 1 - loss / 2),
}
