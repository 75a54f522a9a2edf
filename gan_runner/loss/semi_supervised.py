"""Semi-supervised learning: the discriminator is a classifier, trained on few labelled and many unlabelled images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss, softplus

from gan_runner.errors import choose, require
from gan_runner.loss.objective import Objective
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Progress
from gan_runner.spec import Batch, full_precision

DISTANCES = {"squared": torch.square, "absolute": torch.abs}


@dataclass(eq=False)
class SemiSupervised(Objective):
    """D: CE(labelled) + unsupervised_weight adversarial(s); G: |E f(x) - E f(G(z))| (Salimans et al. 2016, section 5).

    l are the discriminator's class logits, the logit of the class "fake" is fixed at 0. s = log sum exp l is the score
    of an image, CE the cross-entropy with the known labels, in nats. f are the inputs of the linear layer that gives l.

    unsupervised_weight: factor of the adversarial term in D's loss.
    fake_class: true takes CE over the K classes and "fake" (Odena 2016), false over the K classes only.
    feature_matching: squared (Salimans on MNIST) or absolute (on CIFAR-10) differences of the batches' mean features,
    or none: the generator's loss is that of the adversarial term (Odena).
    """

    needs_logits = "output=classes (of mlp, dcgan, toy, ssl_mlp or ssl_cnn)"
    semi_supervised = True

    discriminator_output: str = "classes"
    unsupervised_weight: float = 0.5
    fake_class: bool = False
    feature_matching: str = "squared"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.unsupervised_weight >= 0, f"unsupervised_weight={self.unsupervised_weight} must be 0 or more")
        choose("feature_matching", self.feature_matching, {"none": None, **DISTANCES})

    @property
    def batch_statistics(self) -> bool:
        return self.feature_matching != "none" or super().batch_statistics

    @property
    def paired(self) -> bool:
        return self.feature_matching != "none" or super().paired

    def discriminator(
        self, network: nn.Module, real: Batch, fake: Batch, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        adversarial, stats = self.compare(network, real, fake, noise, progress)
        assert real.labelled is not None  # Batches.with_labelled adds this batch
        known = self.noised(real.labelled, noise.scoped("labelled"), progress)
        supervised = self.classify(network, known)
        unsupervised = self.unsupervised_weight * adversarial
        stats |= {"loss/supervised": supervised.detach(), "loss/unsupervised": unsupervised.detach()}
        return supervised + unsupervised, stats

    def classify(self, network: nn.Module, known: Batch) -> Tensor:
        """Returns the mean cross-entropy with the labels."""
        heads = network.heads(known.images)  # type: ignore[operator]
        score, logits = full_precision(heads.score), full_precision(heads.logits)
        partition = softplus(score) if self.fake_class else score
        assert known.labels is not None
        return nll_loss(logits - partition[:, None], known.labels)

    def generator(
        self, network: nn.Module, fake: Batch, real: Batch | None, noise: Noise, progress: Progress
    ) -> tuple[Tensor, Stats]:
        if self.feature_matching == "none":
            return super().generator(network, fake, real, noise, progress)
        assert real is not None  # the objective is paired
        means = [
            full_precision(network.heads(self.noised(batch, noise.scoped(name), progress).images).features).mean(dim=0)  # type: ignore[operator]
            for name, batch in (("real", real), ("fake", fake))
        ]
        loss = DISTANCES[self.feature_matching](means[0] - means[1]).mean()
        return loss, {"loss/generator": loss.detach()}
