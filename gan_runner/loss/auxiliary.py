"""The auxiliary classifier loss: discriminator and generator also minimise the class error of the discriminator."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gan_runner.errors import require
from gan_runner.loss.objective import Objective
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Progress
from gan_runner.spec import Batch, full_precision


@dataclass(eq=False)
class AuxiliaryClassifier(Objective):
    """As Objective, plus for D: weight (CE(x) + CE(G(z))), for G: generator_weight CE(G(z)) (ACGAN, Odena et al. 2017).

    CE is the cross-entropy, in nats, of the discriminator's class logits with the label.
    weight, generator_weight: factors of CE in the loss of D and of G.
    on_fake: False leaves CE(G(z)) out of D's loss, as in Gulrajani et al. 2017 (weight 1, generator_weight 0.1).
    """

    needs_logits = "conditioning=classifier (of any model that has conditioning)"

    generator_conditioning: str = "one_hot"
    discriminator_conditioning: str = "classifier"
    weight: float = 1.0
    generator_weight: float = 1.0
    on_fake: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, f"weight={self.weight} must be 0 or more")
        require(self.generator_weight >= 0, f"generator_weight={self.generator_weight} must be 0 or more")

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
        """Returns the scores (B,) and the mean cross-entropy of the classes."""
        heads = network.heads(batch.images, batch.labels)  # type: ignore[operator]
        assert batch.labels is not None  # a conditional network requires labels
        return full_precision(heads.score), cross_entropy(full_precision(heads.logits), batch.labels)
