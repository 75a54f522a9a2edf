"""Adversarial terms on raw scores (B,), high for real images: means over the batch, natural logarithms."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu, softplus

from gan_runner.errors import choose, require


class Minimax:
    """D: E softplus(-D(x)) + E softplus(D(G(z))); G: -E softplus(D(G(z))) (Goodfellow et al. 2014, equation 1).

    The discriminator's loss is the sum of both terms, not their mean: log 4 if it cannot distinguish real and fake, and
    JS = log 2 - loss / 2. The generator's loss saturates: its gradient vanishes as the discriminator improves.
    real_target: label of real images; below 1 it is smoothed on one side (Salimans et al. 2016: 0.9), and the loss does
    not estimate JS.
    """

    paired = False
    batch_statistics = False
    zero_is_boundary = True

    def __init__(self, real_target: float = 1.0):
        require(0 < real_target <= 1, f"real_target={real_target} must be above 0 and at most 1")
        self.real_target = real_target
        self.estimate: str | None = "js" if real_target == 1 else None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        smoothed = softplus(-real) if self.real_target == 1 else softplus(real) - self.real_target * real
        return smoothed.mean() + softplus(fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -softplus(fake).mean()


class NonSaturating(Minimax):
    """D: as Minimax; G: E softplus(-D(G(z))), whose gradient does not vanish (Goodfellow et al. 2014, section 3)."""

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return softplus(-fake).mean()


class LeastSquares:
    """D: 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2; G: 1/2 E (D(G(z)) - c)^2 (Mao et al. 2017, equations 8 and 9).

    a, b, c: targets of fakes, of real images, and of the generator.

    a=-1, b=1, c=0 minimises the Pearson chi^2 between p + q and 2q; a=0, b=c=1 are the most common targets in code.
    Losses of D and G at equilibrium: 1 and 0 for the first, 1/4 and 1/8 for the second.
    """

    paired = False
    batch_statistics = False
    estimate: str | None = None

    def __init__(self, a: float = 0.0, b: float = 1.0, c: float = 1.0):
        require(a < b, f"a={a}, the target of fakes, must be below b={b}, that of real images")
        self.a, self.b, self.c = a, b, c
        self.zero_is_boundary = a == -b

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - self.b).square().mean() + (fake - self.a).square().mean()) / 2

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return (fake - self.c).square().mean() / 2


class Hinge:
    """D: E relu(1 - D(x)) + E relu(1 + D(G(z))); G: -E D(G(z)) (Lim and Ye 2017; Miyato et al. 2018, equation 17).

    D's loss is 2 if it cannot distinguish real and fake; 1 - loss / 2 is a lower bound of the total variation.
    """

    paired = False
    batch_statistics = False
    zero_is_boundary = True
    estimate: str | None = "tv"

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -fake.mean()


class Wasserstein:
    """D: E D(G(z)) - E D(x); G: -E D(G(z)) (Arjovsky et al. 2017, who call the discriminator a critic)."""

    paired = False
    batch_statistics = False
    zero_is_boundary = False
    estimate: str | None = "wasserstein"

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -fake.mean()


class WassersteinDivergence(Wasserstein):
    """As Wasserstein; with WGAN-div's penalty the loss is minus a divergence, not a distance (Wu et al. 2018)."""

    estimate: str | None = "w_div"


class RelativisticPaired:
    """D: E softplus(-(D(x) - D(y))); G: E softplus(-(D(y) - D(x))), each real x with one fake y.

    RSGAN (Jolicoeur-Martineau 2018), called RpGAN in R3GAN (Huang et al. 2024). Both losses are log 2 at equilibrium.
    Only differences of scores have a meaning: real and fake scores may drift together.
    """

    paired = True
    batch_statistics = False
    zero_is_boundary = False
    estimate: str | None = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None
        return softplus(real - fake).mean()


FORMS: dict[str, Callable[[Tensor], Tensor]] = {  # loss of a margin between real and fake scores
    "standard": lambda margin: softplus(-margin),
    "least_squares": lambda margin: (margin - 1).square(),
    "hinge": lambda margin: relu(1 - margin),
}


class RelativisticAverage:
    """D: E f(D(x) - E D(y)) + E f(E D(x) - D(y)); G: the same with real and fake exchanged.

    Jolicoeur-Martineau 2018.
    form: standard (RaSGAN), least_squares (RaLSGAN), hinge (RaHinge). The gradient flows through the means. The two
    terms are summed, as in the paper; the author's code averages them. At equilibrium both players' losses are log 4, 2
    and 2, for the three forms.
    """

    paired = True
    batch_statistics = True
    zero_is_boundary = False
    estimate: str | None = None

    def __init__(self, form: str = "standard"):
        self.price = choose("form", form, FORMS)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.price(real - fake.mean()).mean() + self.price(real.mean() - fake).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None
        return self.discriminator(fake, real)


class EnergyBased:
    """D: E R(x) + E relu(margin - R(G(z))); G: E R(G(z)); R = -D(x), an autoencoder's error (EBGAN, Zhao et al. 2017).

    margin: error above which a fake no longer counts.

    Equations 1 and 2, without the pull-away term. At equilibrium D's loss is the margin, for any error R below it.
    """

    paired = False
    batch_statistics = False
    zero_is_boundary = False
    energy = True
    ranked = False  # smooth samples are easy to reconstruct: their error may be below that of real images
    estimate: str | None = None

    def __init__(self, margin: float = 1.0):
        require(margin > 0, f"margin={margin} must be above 0")
        self.margin = margin

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(self.margin + fake).mean() - real.mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -fake.mean()


class BoundaryEquilibrium:
    """D: E R(x) - k E R(G(z)); G: E R(G(z)); R = -D(x), an autoencoder's error (BEGAN, Berthelot et al. 2017).

    Each generator update changes k by rate (gamma E R(x) - E R(G(z))), within [0, 1], towards E R(G(z)) = gamma E R(x).
    gamma: target of E R(G(z)) / E R(x); the smaller, the lower is the diversity of the samples.
    rate: of the changes of k.
    """

    paired = False
    batch_statistics = True  # k depends on the whole batch
    zero_is_boundary = False
    energy = True
    ranked = False  # at equilibrium samples have gamma times the error of real images, so a higher score
    estimate: str | None = None

    def __init__(self, gamma: float = 0.5, rate: float = 1e-3):
        require(0 <= gamma <= 1, f"gamma={gamma} must be between 0 and 1")
        require(rate >= 0, f"rate={rate} must be 0 or more")
        self.gamma, self.rate = gamma, rate
        self.k = self.real_error = torch.zeros(())

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        self.real_error = -real.detach().mean()
        return -real.mean() + self.k * fake.mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        self.k = (self.k + self.rate * (self.gamma * self.real_error + fake.detach().mean())).clamp(0, 1)
        return -fake.mean()

    def state_dict(self) -> dict[str, Tensor]:
        return {"k": self.k}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.k = state["k"]


# ---- f-GAN

TANGENT = 20.0  # above it the tangent replaces exp, so that scores neither overflow nor lose their gradient


def bounded_exp(x: Tensor) -> Tensor:
    return x.clamp(max=TANGENT).exp() * (1 + relu(x - TANGENT))


def conjugate_of_jeffrey(t: Tensor) -> Tensor:
    """W(e^(1-t)) + 1 / W(e^(1-t)) + t - 2 with Lambert's W, whose logarithm u solves e^u + u = 1 - t."""
    y = 1 - t
    with torch.no_grad():
        u = torch.where(y > 1, y.clamp(min=1).log(), y)
        for _ in range(20):
            u = u - (bounded_exp(u) + u - y) / (bounded_exp(u) + 1)
    w = bounded_exp(u)
    u = u - (w + u - y) / (w + 1)  # one more Newton step, with autograd
    return bounded_exp(u) + bounded_exp(-u) + t - 2


# divergence -> g(v), which maps scores into the domain of f*; f*(g(v)), in a stable form (Nowozin et al. 2016, tables 2
# and 6); and the key of the estimate in ESTIMATES
DIVERGENCES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str | None]] = {
    "total_variation": (lambda v: torch.tanh(v) / 2, lambda v: torch.tanh(v) / 2, "minus_loss_tv"),
    "kl": (lambda v: v, lambda v: bounded_exp(v - 1), None),
    "reverse_kl": (lambda v: -bounded_exp(-v), lambda v: v - 1, None),
    "pearson": (lambda v: v, lambda v: v.square() / 4 + v, None),
    "neyman": (lambda v: 1 - bounded_exp(-v), lambda v: 2 - 2 * bounded_exp(-v / 2), None),
    "squared_hellinger": (lambda v: 1 - bounded_exp(-v), lambda v: bounded_exp(v) - 1, None),
    "jeffrey": (lambda v: v, conjugate_of_jeffrey, None),
    "js": (lambda v: math.log(2) + logsigmoid(v), lambda v: softplus(v) - math.log(2), "half_minus_loss_js"),
    "gan": (logsigmoid, softplus, "js"),
}


class FDivergence:
    """D: -(E g(D(x)) - E f*(g(D(G(z))))), minus a lower bound of the divergence; G: -E f*(g(D(G(z)))), or with trick
    -E g(D(G(z))), which the paper recommends (f-GAN, Nowozin et al. 2016). js bounds 2 JS, gan bounds 2 JS - log 4.

    divergence: total_variation, kl, reverse_kl, pearson, neyman, squared_hellinger, jeffrey, js or gan.
    trick: whether the generator maximises g(D(G(z))).
    """

    paired = False
    batch_statistics = False
    zero_is_boundary = False

    def __init__(self, divergence: str = "kl", trick: bool = True):
        self.activation, self.conjugate, estimate = choose("divergence", divergence, DIVERGENCES)
        self.trick = trick
        self.estimate: str | None = estimate

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.conjugate(fake).mean() - self.activation(real).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -(self.activation(fake) if self.trick else self.conjugate(fake)).mean()


# Estimates of the distance of the two distributions from a discriminator's loss: tag, formula, and whether the loss in
# the formula includes the penalties.
ESTIMATES: dict[str, tuple[str, Callable[[Tensor], Tensor], bool]] = {
    "wasserstein": ("wasserstein/estimate", lambda loss: -loss, False),
    "w_div": ("divergence/w_div", lambda loss: -loss, True),
    "js": ("divergence/js_estimate", lambda loss: math.log(2) - loss / 2, False),  # nats; a lower bound
    "half_minus_loss_js": ("divergence/js_estimate", lambda loss: -loss / 2, False),
    "tv": ("divergence/tv_estimate", lambda loss: 1 - loss / 2, False),
    "minus_loss_tv": ("divergence/tv_estimate", lambda loss: -loss, False),
}
