"""The auxiliary classifier: a discriminator that also names the class, and a generator that wants it named rightly."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_runner.errors import require
from gan_runner.loss.objective import Objective
from gan_runner.noise import Noise
from gan_runner.protocols import Adversarial, Constraint, Penalty, Stats
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import Batch, full_precision


class AuxiliaryClassifier(Objective):
    """As Objective, plus for D: weight (CE(x) + CE(G(z))), for G: generator_weight CE(G(z)) (ACGAN, Odena et al. 2017).

    CE is the cross-entropy, in nats, of the discriminator's class logits with the label. on_fake=false leaves the fakes
    out of D's, as Gulrajani et al. 2017 have it (weight 1, generator_weight 0.1).
    """

    needs_logits = True

    def __init__(
        self,
        adversarial: Adversarial,
        penalties: Mapping[str, Penalty | None] | None = None,
        constraint: Constraint | None = None,
        n_critic: int = 1,
        n_critic_burst: int | None = None,
        discriminator_norm: str = "none",
        discriminator_output: str = "score",
        instance_noise: float | Schedule = 0.0,
        simultaneous: bool = False,
        generator_conditioning: str = "one_hot",
        discriminator_conditioning: str = "classifier",
        weight: float = 1.0,
        generator_weight: float = 1.0,
        on_fake: bool = True,
    ):
        super().__init__(
            adversarial,
            penalties,
            constraint,
            n_critic,
            n_critic_burst,
            discriminator_norm,
            discriminator_output,
            instance_noise,
            simultaneous,
            generator_conditioning,
            discriminator_conditioning,
        )
        require(weight >= 0, f"weight={weight} must be 0 or more")
        require(generator_weight >= 0, f"generator_weight={generator_weight} must be 0 or more")
        self.weight, self.generator_weight, self.on_fake = weight, generator_weight, on_fake

    def discriminator(
        self, network: nn.Module, real: Batch, fake: Batch, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        real_score, real_class = self.read(network, self.noised(real, noise.scoped("real"), progress))
        fake_score, fake_class = self.read(network, self.noised(fake, noise.scoped("fake"), progress))
        loss = self.adversarial.discriminator(real_score, fake_score)
        stats = self.observe(loss.detach(), real_score.detach(), fake_score.detach())
        classes = real_class + fake_class if self.on_fake else real_class
        return loss + self.weight * classes, stats | {"loss/class": classes.detach()}

    def generator(
        self, network: nn.Module, fake: Batch, real: Batch | None, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        real_score = None
        if self.adversarial.paired and real is not None:
            real_score, _ = self.read(network, self.noised(real, noise.scoped("real"), progress))
        fake_score, fake_class = self.read(network, self.noised(fake, noise.scoped("fake"), progress))
        loss = self.adversarial.generator(fake_score, real_score) + self.generator_weight * fake_class
        return loss, {"loss/generator": loss.detach()}

    def read(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores (B,) and the cross-entropy of the class."""
        heads = network.heads(batch.images, batch.labels)  # type: ignore[operator]
        assert batch.labels is not None  # the network would not be conditional
        return full_precision(heads.score), cross_entropy(full_precision(heads.logits), batch.labels)
