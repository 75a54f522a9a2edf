"""A complete loss: adversarial term, penalties, constraint, and the number of discriminator updates per step."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from gan_runner.errors import choose, require
from gan_runner.loss.adversarial import ESTIMATES
from gan_runner.nn.coupling import sees_single_images
from gan_runner.noise import Noise
from gan_runner.protocols import Adversarial, Constraint, Penalty, Stateful, Stats
from gan_runner.schedule import Progress, Schedule, check_schedulable, valued
from gan_runner.spec import Batch, Scorer, joined, scores

NEEDED = ("paired", "batch_statistics", "zero_is_boundary", "estimate", "discriminator", "generator")
FIRST, EVERY = 25, 500  # the generator steps with a burst: the first 25 and every 500th (WassersteinGAN/main.py)


@dataclass(eq=False)
class Objective:
    """n_critic discriminator updates per generator update, each on adversarial + sum of weighted penalties.

    constraint: a bound on the discriminator's weights, such as gan_runner.loss.constraint.SpectralNorm; None: none.
    n_critic: discriminator updates per generator update.
    n_critic_burst: discriminator updates in the first 25 and every 500th generator step, as in the WGAN authors' code
    (100 there); None: n_critic.
    instance_noise: standard deviation of the Gaussian noise added to all real and fake images in the adversarial terms
    (Sonderby et al. 2017); in units of the data, whose range is -1 to 1.
    simultaneous: the gradients of both players are computed before either moves, as in the code of Goodfellow et al.
    2014; else the generator's gradient uses the updated discriminator (their Algorithm 1).
    discriminator_norm, discriminator_output, generator_conditioning, discriminator_conditioning: the value for networks
    whose own setting refers to it in the configuration.
    """

    needs_logits: ClassVar[str] = ""  # if not empty: the setting that gives the discriminator the required class logits
    semi_supervised: ClassVar[bool] = False  # True: the loss needs a second batch of labelled images

    adversarial: Adversarial
    penalties: dict[str, Penalty] = field(default_factory=dict)  # null switches a penalty off
    constraint: Constraint | None = None
    n_critic: int = 1
    n_critic_burst: int | None = None
    discriminator_norm: str = "none"
    discriminator_output: str = "score"
    instance_noise: float | Schedule = 0.0
    simultaneous: bool = False
    generator_conditioning: str = "none"
    discriminator_conditioning: str = "none"

    together: bool = field(default=False, init=False)  # True: real and fake images share one pass

    def __post_init__(self) -> None:
        term = self.adversarial
        missing = [name for name in NEEDED if not hasattr(term, name)]
        require(not missing, f"adversarial={type(term).__name__} lacks {', '.join(missing)}: give it to the class")
        self.penalties = {name: penalty for name, penalty in (self.penalties or {}).items() if penalty is not None}
        for name, penalty in self.penalties.items():
            lacking = [part for part in ("weight", "every", "per_sample", "__call__") if not hasattr(penalty, part)]
            require(not lacking, f"penalties.{name}={spelt(penalty)} is no penalty{needs(lacking)}")
        lacking = [part for part in ("prepare", "enforce") if not hasattr(self.constraint, part)]
        is_constraint = self.constraint is None or not lacking
        require(is_constraint, f"constraint={spelt(self.constraint)} is no constraint{needs(lacking)}")
        if term.estimate is not None:
            choose("adversarial.estimate", term.estimate, ESTIMATES)
        check_schedulable("instance_noise", self.instance_noise)
        require(self.n_critic >= 1, f"n_critic={self.n_critic} must be at least 1")
        burst = self.n_critic_burst
        require(burst is None or burst >= 1, f"n_critic_burst={burst} must be at least 1")

    @property
    def batch_statistics(self) -> bool:
        """Whether the loss is not a mean over samples, so that a batch cannot be accumulated from parts."""
        return any(getattr(term, "batch_statistics", False) for term in (self.adversarial, *self.penalties.values()))

    @property
    def paired(self) -> bool:
        """Whether the generator's loss needs real images."""
        return self.adversarial.paired

    @property
    def estimate_tag(self) -> str | None:
        """The tag of the distance that the discriminator's loss estimates; None without an estimate."""
        return ESTIMATES[self.adversarial.estimate][0] if self.adversarial.estimate is not None else None

    def n_critic_at(self, step: int) -> int:
        """Returns the number of discriminator updates in generator step `step`, counted from 0."""
        burst = step < FIRST or step % EVERY == 0
        return self.n_critic_burst if burst and self.n_critic_burst else self.n_critic

    def discriminator_updates(self, steps: int) -> int:
        """Returns the number of discriminator updates in the first `steps` generator steps."""
        bursts = min(steps, FIRST) + max(steps - 1, 0) // EVERY
        return steps * self.n_critic + bursts * ((self.n_critic_burst or self.n_critic) - self.n_critic)

    def discriminator(
        self, network: nn.Module, real: Batch, fake: Batch, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        """Returns the loss of the discriminator without penalties, and statistics."""
        return self.compare(network, real, fake, noise, progress)

    def compare(
        self, network: Scorer, real: Batch, fake: Batch, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        """Returns the adversarial loss of the discriminator, and statistics."""
        seen = [self.noised(batch, noise.scoped(name), progress) for name, batch in (("real", real), ("fake", fake))]
        real_scores, fake_scores = self.score_both(network, *seen)
        loss = self.adversarial.discriminator(real_scores, fake_scores)
        return loss, self.observe(loss.detach(), real_scores.detach(), fake_scores.detach())

    def score_both(self, network: Scorer, real: Batch, fake: Batch) -> tuple[Tensor, Tensor]:
        """Returns real and fake scores, from one pass if no layer couples samples.

        Joint batch statistics would mix information between real and fake images.
        """
        if not self.together:
            return scores(network, real), scores(network, fake)
        of_real, of_fake = scores(network, joined(real, fake)).split([len(real.images), len(fake.images)])
        return of_real, of_fake

    def noised(self, batch: Batch, noise: Noise, progress: Progress) -> Batch:
        deviation = valued(self.instance_noise, progress)
        if deviation == 0:
            return batch
        drawn = noise.scoped("instance").normal(*batch.images.shape[1:])
        return batch._replace(images=batch.images + deviation * drawn)

    def observe(self, loss: Tensor, real: Tensor, fake: Tensor) -> Stats:
        real_mean, fake_mean = real.mean(), fake.mean()
        stats = {"loss/adversarial": loss, "score/real": real_mean, "score/fake": fake_mean}
        stats["score/gap"] = real_mean - fake_mean
        if self.adversarial.zero_is_boundary:
            stats["accuracy/real"] = (real > 0).float().mean()
            stats["accuracy/fake"] = (fake < 0).float().mean()
        if self.adversarial.paired:
            stats["accuracy/pairwise"] = (real > fake).float().mean()
        return stats

    def estimate(self, loss: Tensor, observed: Stats) -> Stats:
        """Returns the distance estimated from an adversarial loss. observed: the statistics of the penalties."""
        if self.adversarial.estimate is None:
            return {}
        tag, formula, penalised = ESTIMATES[self.adversarial.estimate]
        if penalised:
            due = [observed[f"penalty/{name}"] for name in self.penalties if f"penalty/{name}" in observed]
            if len(due) < len(self.penalties):
                return {}  # the value of a lazy penalty is known only if it is due
            loss = loss + sum(due)
        return {tag: formula(loss)}

    def penalty(
        self, network: nn.Module, real: Batch, fake: Batch, noise: Noise, update: int, progress: Progress
    ) -> tuple[Tensor | float, Stats]:
        """Returns the weighted sum of the penalties that are due at discriminator update `update`, and statistics."""
        total: Tensor | float = 0.0
        stats: Stats = {}
        for name, term in self.penalties.items():
            if update % term.every:
                continue
            value, observed = term(network, real, fake, noise.scoped(name))
            weighted = valued(term.weight, progress) * value
            total = total + term.every * weighted
            stats[f"penalty/{name}"] = weighted.detach()
            stats |= {f"{tag}/{name}": number for tag, number in observed.items()}
        return total, stats

    def generator(
        self, network: nn.Module, fake: Batch, real: Batch | None, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        real_scores = None
        if self.adversarial.paired and real is not None:
            real_scores = scores(network, self.noised(real, noise.scoped("real"), progress))
        fake_scores = scores(network, self.noised(fake, noise.scoped("fake"), progress))
        loss = self.adversarial.generator(fake_scores, real_scores)
        return loss, {"loss/generator": loss.detach()}

    def enforce(self, network: nn.Module) -> None:
        if self.constraint is not None:
            self.constraint.enforce(network)

    def schedules(self) -> dict[str, Schedule]:
        """Returns the schedules of the loss, by their name under the tag `schedule/`."""
        named = {name: penalty.weight for name, penalty in self.penalties.items()}
        named["instance_noise"] = self.instance_noise
        return {name: value for name, value in named.items() if isinstance(value, Schedule)}

    def stateful(self) -> dict[str, Stateful]:
        """Returns the terms whose state belongs in a checkpoint."""
        terms: dict[str, object] = {"adversarial": self.adversarial, "constraint": self.constraint}
        terms |= {f"penalties.{name}": penalty for name, penalty in self.penalties.items()}
        return {name: term for name, term in terms.items() if isinstance(term, Stateful)}

    def prepare(self, network: nn.Module) -> None:
        if self.constraint is not None:
            self.constraint.prepare(network)
        self.together = sees_single_images(network)


def spelt(thing: object) -> str:
    return str(thing) if isinstance(thing, dict | int | float | str | list) else type(thing).__name__


def needs(parts: list[str]) -> str:
    return f": it lacks {', '.join(parts)}; name its class with _target_"
