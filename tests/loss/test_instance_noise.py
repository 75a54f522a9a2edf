"""Noise on images: on every pixel, and of its own for real, fake and labelled images, whatever the objective."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from gan_runner.loss.adversarial import NonSaturating, RelativisticPaired
from gan_runner.loss.auxiliary import AuxiliaryClassifier
from gan_runner.loss.objective import Objective
from gan_runner.loss.semi_supervised import SemiSupervised
from gan_runner.model.conditioning import Heads
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch

COUNT, SHAPE, DEVIATION = 400, (1, 3, 4), 0.5


class Watched(nn.Module):
    """Remembers the images that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def heads(self, images: Tensor, labels: Tensor | None = None) -> Heads:
        self.seen.append(images)
        flat = images.flatten(1)
        return Heads(flat.sum(1), flat, flat[:, :3])

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.heads(images, labels).score


def flat(value: float) -> Batch:
    return Batch(torch.full((COUNT, *SHAPE), value), torch.arange(COUNT) % 3)


REAL, FAKE = flat(1.0)._replace(labelled=flat(2.0)), flat(-1.0)
OBJECTIVES = {
    "plain": (Objective, RelativisticPaired, {}, [1, -1], [1, -1]),
    "unpaired": (Objective, NonSaturating, {}, [1, -1], [-1]),
    "classes": (AuxiliaryClassifier, RelativisticPaired, {}, [1, -1], [1, -1]),
    "few labels": (SemiSupervised, NonSaturating, {}, [1, -1, 2], [1, -1]),
    "few labels, no matching": (SemiSupervised, NonSaturating, {"feature_matching": "none"}, [1, -1, 2], [-1]),
}


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one pass"])
@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_batch_has_noise_of_its_own_on_every_pixel(name: str, player: str, together: bool):
    make, term, settings, for_discriminator, for_generator = OBJECTIVES[name]
    objective, network = make(term(), instance_noise=DEVIATION, **settings), Watched()
    objective.together = together
    noise, now = Noise((0,), COUNT, torch.device("cpu")), Progress(0, None)
    pair = (REAL, FAKE) if player == "discriminator" else (FAKE, REAL)
    getattr(objective, player)(network, *pair, noise, now)
    batches = torch.cat(network.seen).split(COUNT)
    expected = for_discriminator if player == "discriminator" else for_generator
    assert [batch.mean().round().item() for batch in batches] == expected
    draws = [batch - value for batch, value in zip(batches, expected, strict=True)]
    for draw in draws:
        assert draw.std().item() == pytest.approx(DEVIATION, rel=0.05)
        assert draw.mean((1, 2, 3)).std().item() == pytest.approx(DEVIATION / 12**0.5, rel=0.15)  # of 12 pixels
        assert draw.std(0).min() > 0.8 * DEVIATION  # of 400 images
    for one, other in itertools.combinations(draws, 2):
        assert (one * other).mean().abs() < 0.1 * DEVIATION**2
