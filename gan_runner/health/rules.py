"""The health rules: each is a function of logged values that returns a sentence if the rule holds, else None."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gan_runner.health.facts import Facts

PERSISTENCE = 500  # steps: about the time until samples of the default run resemble the data
ROUND = 1000  # steps: on a ring, WGAN-GP's players oscillate, with the generator ahead half of the time, and recover

WON = 0.999  # accuracy: the default run reaches 0.99 on real images or on samples, and recovers
SATURATED = 5.0  # score gap of pairs: the loss has 1/100 of its slope left; penalties keep the gap of R3GAN below 2
LOST = -0.5  # separation, in standard deviations of the scores: chance variation around 0 stays within 0.4
DUPLICATES = 0.2  # share of samples: healthy runs have none on images, a few percent on points in the plane
ALIKE = 0.3  # share of the distance of real neighbours, smoothed: trained healthy runs on images are above 0.4
DIFFERED = 0.4  # the same share: samples once above it and now below ALIKE have collapsed, others are still untrained
COLLAPSED = 0.25  # share of the real images' deviation: all healthy runs that were measured had at least 0.27 of it
NARROW = 0.35  # the same share, where the neighbours are near too: healthy runs had at most one of the two
NO_GRADIENT = 1e-8  # gradient norm: below the eps of Adam and RMSprop, so that updates vanish too
VANISHED = 1e-5  # share of the gradient norm at the beginning
GREATEST_SCORE = 1e4  # real and fake scores may drift together; above this value fp32 and bf16 lose their differences
GREATEST_GAP = 1e3  # larger than any useful logit, and than the distance of two 256x256x3 images in [-1, 1]
GROWTH = 1e3  # gradient norm over that of the beginning, or over 1 if larger: at most 100 in healthy runs
GROWN = 10.0  # norm of the weights over that at the start: about 1.1 in healthy runs
BY_HEART = 0.5  # gap of training and held-out scores over gap of training images and samples (ADA's r_v, 2020)
CHANCE = 0.5  # standard deviations: three times the chance variation with 64 images of each kind
PILED_UP = 0.5  # share of weights at the bound: only their signs are still learned; healthy WGAN runs have 0.1
SLOPES = (0.5, 2.0)  # gradient norm over the penalty's center; healthy WGAN-GP runs stay within 10 % of 1
RISE = 0.1  # share of the estimate: a rise of the generator's loss that is visible in its curve


NEIGHBOURS = "health/neighbour_ratio"
PEAKS = (NEIGHBOURS,)


class Seen(NamedTuple):
    """The arguments of a rule."""

    values: Mapping[str, float]  # values of the newest line
    before: Mapping[str, float] | None  # values of the line PERSISTENCE steps ago
    beginning: Mapping[str, float]  # the largest values of the first lines; empty before they are known
    steps: int  # number of steps for which the rule has held
    facts: Facts
    peaks: Mapping[str, float] = {}  # the largest values so far, of the tags in PEAKS

    def has(self, *tags: str) -> bool:
        return all(tag in self.values for tag in tags)


def discriminator_won(seen: Seen) -> str | None:
    pairs = seen.has("accuracy/pairwise")
    tags = ("accuracy/pairwise",) if pairs else ("accuracy/real", "accuracy/fake")
    if not (pairs or seen.facts.sign_decides) or not seen.has(*tags) or min(seen.values[t] for t in tags) < WON:
        return None
    if pairs and seen.values.get("score/gap", 0.0) < SATURATED:
        return None
    return (
        f"the discriminator has won (accuracy 1.00 for {seen.steps} steps); try loss=wgan_gp, "
        f"{rate(seen, 'discriminator', 1 / 4)}, or noise on all images: loss.instance_noise=0.1"
    )


def generator_won(seen: Seen) -> str | None:
    values = seen.values
    if not seen.facts.ranked or not seen.has("health/separation") or values["health/separation"] > LOST:
        return None
    gap = f"the discriminator scores samples above real images (score/gap {values.get('score/gap', math.nan):.3g})"
    if values.get("lr/discriminator") == 0:
        return f"{gap}: it does not learn, since optimizer.discriminator.lr is 0; give it a rate"
    return (
        f"{gap}: the generator has won, or a loss of your own has a wrong sign; try "
        f"{rate(seen, 'discriminator', 4)}, or more discriminator updates: loss.n_critic=5"
    )


def negative_estimate(seen: Seen) -> str | None:
    if not seen.has("wasserstein/estimate") or seen.values["wasserstein/estimate"] >= 0:
        return None
    return (
        f"the Wasserstein estimate is negative ({seen.values['wasserstein/estimate']:.3g} for {seen.steps} steps), "
        f"which no distance is: the discriminator is not trained enough, or a loss of your own has a wrong sign; try "
        f"loss.n_critic=5, or {rate(seen, 'discriminator', 4)}"
    )


def collapse(seen: Seen) -> str | None:
    share, spread = seen.values.get("health/near_duplicates", 0.0), seen.values.get("health/sample_std_ratio", 1.0)
    apart = seen.values.get(NEIGHBOURS, 1.0)
    held = seen.values.get("lr/generator") == 0  # the user has frozen the generator
    narrow = spread <= NARROW and apart <= DIFFERED
    if held or not (are_copies(seen) or apart <= ALIKE or narrow):
        return None
    seen_as = f"{100 * share:.0f} % near-duplicates, {100 * spread:.0f} % of the real images' spread"
    if NEIGHBOURS in seen.values:
        seen_as += f", {100 * apart:.0f} % of the distance between real neighbours"
    if not (has_differed(seen) or are_copies(seen)):
        return (
            f"samples do not differ yet: {seen_as}; train longer, or try loss=wgan_gp or loss=r3gan, or "
            f"{rate(seen, None, 4)}"
        )
    return (
        f"samples collapse: {seen_as}; try loss=wgan_gp or loss=r3gan, a larger train.batch_size, or a discriminator "
        f"that compares the samples of a batch: model.discriminator.minibatch=stddev"
    )


def has_differed(seen: Seen) -> bool:
    """Returns True if samples for different z differed at an earlier line."""
    return seen.peaks.get(NEIGHBOURS, 0.0) >= DIFFERED


def are_copies(seen: Seen) -> bool:
    """Returns True if samples are nearly equal pixel by pixel."""
    share, spread = seen.values.get("health/near_duplicates", 0.0), seen.values.get("health/sample_std_ratio", 1.0)
    return share >= DUPLICATES or spread <= COLLAPSED


def no_gradient(seen: Seen) -> str | None:
    tag = "grad_norm/generator"
    if not seen.has(tag) or seen.values[tag] > max(NO_GRADIENT, VANISHED * seen.beginning.get(tag, 0.0)):
        return None
    return (
        f"the generator gets no gradient (norm {seen.values[tag]:.1e} for {seen.steps} steps) and cannot learn; "
        f"try loss=gan where the loss is minimax, loss=wgan_gp, or {rate(seen, 'generator', 1 / 4)} from the start"
    )


def explosion(seen: Seen) -> str | None:
    large = {"score/real": GREATEST_SCORE, "score/fake": GREATEST_SCORE, "score/gap": GREATEST_GAP}
    norms = [tag for tag in ("grad_norm/generator", "grad_norm/discriminator") if tag in seen.beginning]
    large |= {tag: GROWTH * max(1.0, seen.beginning[tag]) for tag in norms}
    large |= {"health/weight_growth/generator": GROWN, "health/weight_growth/discriminator": GROWN}
    for tag, most in large.items():
        if abs(seen.values.get(tag, 0.0)) > most:
            return (
                f"the numbers explode ({tag} is {seen.values[tag]:.1e}); try {rate(seen, None, 1 / 10)}, "
                f"or a loss with a penalty: loss=wgan_gp"
            )
    return None


def learned_by_heart(seen: Seen) -> str | None:
    if not seen.has("health/overfitting", "health/separation"):
        return None
    excess, separation = seen.values["health/overfitting"], seen.values["health/separation"]
    if excess < max(CHANCE, BY_HEART * separation):
        return None
    evidence = "it scores held-out images as it scores samples"
    if seen.has("accuracy/real", "health/accuracy_held_out"):
        real, held_out = seen.values["accuracy/real"], seen.values["health/accuracy_held_out"]
        evidence = f"it takes {100 * real:.0f} % of them for real, and {100 * held_out:.0f} % of held-out ones"
    more = "model.discriminator.dropout=0.3" if seen.facts.augmented else "augment=ada or augment=diffaugment"
    return f"the discriminator has learned its training images by heart ({evidence}); try {more}, or more images"


def piled_up(seen: Seen) -> str | None:
    tag = "health/clipped_weights"
    if not seen.has(tag) or seen.values[tag] < PILED_UP:
        return None
    return (
        f"the clipped weights pile up ({100 * seen.values[tag]:.0f} % are at the bound): the discriminator has only "
        f"their signs left to learn; try loss=wgan_gp, or a larger loss.constraint.bound"
    )


def off_center(seen: Seen) -> str | None:
    for name, center in seen.facts.centers.items():
        norm = seen.values.get(f"gradient_norm/{name}", center)
        if not SLOPES[0] * center <= norm <= SLOPES[1] * center:
            return (
                f"the gradient norm at the points of loss.penalties.{name} is {norm:.2g}, far from its centre "
                f"{center:g}: the score is no distance; try a larger loss.penalties.{name}.weight, "
                f"{rate(seen, 'discriminator', 1 / 4)}, or loss.n_critic=5"
            )
    return None


def rising(seen: Seen) -> str | None:
    needed = ("loss/generator", "wasserstein/estimate")
    if not seen.has(*needed) or seen.before is None or "loss/generator" not in seen.before:
        return None
    rise = seen.values["loss/generator"] - seen.before["loss/generator"]
    if rise <= RISE * abs(seen.values["wasserstein/estimate"]):
        return None
    return "the generator's loss is rising, which is normal for WGAN: read wasserstein/estimate, which should fall"


def rate(seen: Seen, player: str | None, factor: float) -> str:
    """Returns an override with another learning rate, for one player or for both (None)."""
    now = seen.values.get(f"lr/{player or 'generator'}", 0.0)
    setting = f"optimizer.{player}.lr" if player else "optimizer.lr"
    return f"{setting}={now * factor:.2g}" if now > 0 else f"another {setting}"


class Rule(NamedTuple):
    check: Callable[[Seen], str | None]
    alarm: bool = True
    steps: int = PERSISTENCE  # number of steps for which the rule must hold
    scaled: bool = False  # fewer steps in a shorter run; half of the run if samples have not differed before


RULES = {
    "explosion": Rule(explosion),
    "discriminator_won": Rule(discriminator_won),
    "generator_won": Rule(generator_won, steps=ROUND),
    "negative_estimate": Rule(negative_estimate, steps=ROUND),
    "collapse": Rule(collapse, scaled=True),
    "no_gradient": Rule(no_gradient),
    "learned_by_heart": Rule(learned_by_heart),
    "piled_up": Rule(piled_up),
    "off_center": Rule(off_center),
    "rising": Rule(rising, alarm=False),
}
READ = ("accuracy/", "score/", "grad_norm/", "gradient_norm/", "wasserstein/", "health/", "loss/generator", "lr/")
