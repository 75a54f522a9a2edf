import math

import pytest
import torch
from torch import Tensor, nn

from gan_runner.loss.adversarial import NonSaturating, RelativisticPaired, Wasserstein, WassersteinDivergence
from gan_runner.loss.objective import Objective
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.noise import Noise
from gan_runner.schedule import Progress, Schedule
from gan_runner.spec import Batch

NOISE = Noise((0,), 4, torch.device("cpu"))
NOW = Progress(0, 100)


class Sum(nn.Module):
    """Scores an image with the sum of its numbers: gradient norm 2 for four numbers."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return images.flatten(1).sum(1)


def images(*sums: float) -> Batch:
    return Batch(torch.tensor(sums).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 4)


def test_the_authors_bursts_are_counted_exactly():
    objective = Objective(Wasserstein(), n_critic=5, n_critic_burst=100)
    one_by_one = [objective.n_critic_at(step) for step in range(1200)]
    assert one_by_one[:26] == [100] * 25 + [5]
    assert one_by_one[499:502] == [5, 100, 5]
    for steps in (0, 1, 24, 25, 26, 499, 500, 501, 502, 1000, 1001, 1200):
        assert objective.discriminator_updates(steps) == sum(one_by_one[:steps])


def test_without_bursts_the_discriminator_moves_n_critic_times():
    objective = Objective(Wasserstein(), n_critic=5)
    assert [objective.n_critic_at(step) for step in (0, 25, 500)] == [5, 5, 5]
    assert objective.discriminator_updates(7) == 35


def test_what_is_observed_of_a_wasserstein_discriminator():
    objective = Objective(Wasserstein(), {"gradient": GradientPenalty(10.0)})
    real, fake = images(3, 5, 3, 5), images(1, 1, 1, 1)
    loss, stats = objective.discriminator(Sum(), real, fake, NOISE, NOW)
    assert loss.item() == pytest.approx(-3)
    assert {tag: value.item() for tag, value in stats.items()} == pytest.approx(
        {"loss/adversarial": -3, "score/real": 4, "score/fake": 1, "score/gap": 3}
    )
    assert objective.estimate(loss, {"penalty/gradient": torch.tensor(9.0)}) == {"wasserstein/estimate": 3}
    penalty, stats = objective.penalty(Sum(), real, fake, NOISE, 0, NOW)
    assert float(penalty) == pytest.approx(10 * (2 - 1) ** 2)
    assert {tag: value.item() for tag, value in stats.items()} == pytest.approx(
        {"penalty/gradient": 10, "gradient_norm/gradient": 2}
    )


def test_what_is_observed_of_a_discriminator_whose_boundary_is_zero():
    objective = Objective(NonSaturating())
    loss, stats = objective.discriminator(Sum(), images(1, 2, 3, -1), images(-1, -2, 1, 1), NOISE, NOW)
    assert stats["accuracy/real"].item() == pytest.approx(0.75)
    assert stats["accuracy/fake"].item() == pytest.approx(0.5)
    estimate = objective.estimate(loss, {})
    assert estimate.keys() == {"divergence/js_estimate"}
    assert estimate["divergence/js_estimate"].item() == pytest.approx(math.log(2) - loss.item() / 2)


def test_a_lazy_penalty_is_due_every_few_updates_and_scaled_up_by_as_many():
    objective = Objective(Wasserstein(), {"r1": GradientPenalty(5.0, at="real", center=0.0, every=4)})
    values = [float(objective.penalty(Sum(), images(1), images(0), NOISE, update, NOW)[0]) for update in range(8)]
    assert values == pytest.approx([5 * 4 * 4, 0, 0, 0, 5 * 4 * 4, 0, 0, 0])


def test_the_w_divergence_is_known_only_when_its_lazy_penalty_is_due():
    """The penalty counts once, although it is added `every` times when it is due."""
    penalty = GradientPenalty(2.0, at="real", center=0.0, power=6.0, every=3)
    objective = Objective(WassersteinDivergence(), {"gradient": penalty})
    loss = torch.tensor(-1000.0)
    _, due = objective.penalty(Sum(), images(1), images(0), NOISE, 3, NOW)
    _, not_due = objective.penalty(Sum(), images(1), images(0), NOISE, 4, NOW)
    assert objective.estimate(loss, due) == {"divergence/w_div": 1000 - 2 * 2**6}
    assert objective.estimate(loss, not_due) == {}


def test_the_weight_of_a_penalty_follows_its_schedule():
    weight = Schedule(start=2.0, end=0.0, shape="linear")
    objective = Objective(Wasserstein(), {"r1": GradientPenalty(weight, at="real", center=0.0)})
    values = [float(objective.penalty(Sum(), images(1), images(0), NOISE, 0, Progress(s, 100))[0]) for s in (0, 50)]
    assert values == pytest.approx([2 * 4, 1 * 4])
    assert objective.schedules() == {"r1": weight}


def test_each_penalty_is_given_real_and_fake_images_for_what_they_are():
    """D(x) = (x_1^2 + ... + x_4^2) / 2 has the gradient x: at constant images c the squared norm is 4 c^2."""

    class Half(nn.Module):
        def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
            return images.flatten(1).square().sum(1) / 2

    penalties = {at: GradientPenalty(1.0, at=at, center=0.0) for at in ("real", "fake", "both")}
    _, stats = Objective(Wasserstein(), penalties).penalty(Half(), images(8, 4), images(4, 12), NOISE, 0, NOW)
    real, fake = (4 * 2**2 + 4 * 1**2) / 2, (4 * 1**2 + 4 * 3**2) / 2
    values = {at: stats[f"penalty/{at}"].item() for at in penalties}
    assert values == pytest.approx({"real": real, "fake": fake, "both": (real + fake) / 2})


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "in one pass"])
def test_scores_of_unequal_batches_stay_apart(together: bool):
    objective = Objective(Wasserstein())
    objective.together = together
    real, fake = objective.score_both(Sum(), images(3, 5, 8), images(1, 2))
    assert (real.tolist(), fake.tolist()) == ([3, 5, 8], [1, 2])


def test_two_penalties_on_lines_do_not_share_their_epsilons():
    seen = []

    class Spy(Sum):
        def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
            seen.append(images.detach())
            return super().forward(images)

    objective = Objective(Wasserstein(), {"one": GradientPenalty(), "other": GradientPenalty()})
    objective.penalty(Spy(), images(1, 1, 1, 1), images(0, 0, 0, 0), NOISE, 0, NOW)
    assert not torch.equal(seen[0], seen[1])


class Paired:
    paired = True
    batch_statistics = True
    zero_is_boundary = False
    estimate = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (fake - real).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return (real - fake).mean()


def test_a_paired_loss_gets_scores_of_real_images_for_the_generator():
    objective = Objective(Paired())
    real, fake = (
        Batch(images(5, 7).images.clone().requires_grad_()),
        Batch(images(1, 2).images.clone().requires_grad_()),
    )
    loss, _ = objective.generator(Sum(), fake, real, NOISE, NOW)
    assert loss.item() == pytest.approx(4.5)
    gradients = torch.autograd.grad(loss, (real.images, fake.images))  # of a mean over two
    assert [gradient.unique().tolist() for gradient in gradients] == [[0.5], [-0.5]]
    assert objective.batch_statistics


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"adversarial": Wasserstein(), "n_critic": 0}, "n_critic=0"),
        ({"adversarial": Wasserstein(), "n_critic_burst": 0}, "n_critic_burst=0"),
        ({"adversarial": nn.Identity()}, "adversarial=Identity lacks paired"),
    ],
    ids=["no discriminator update", "empty burst", "not an adversarial term"],
)
def test_impossible_objectives_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        Objective(**settings)


def test_accuracy_of_a_paired_loss_is_that_of_the_pairs():
    _, stats = Objective(RelativisticPaired()).discriminator(Sum(), images(1, 2, 3, 4), images(0, 5, 2, 9), NOISE, NOW)
    assert stats["accuracy/pairwise"].item() == pytest.approx(0.5)
    assert "accuracy/real" not in stats


def test_instance_noise_fades_with_its_schedule():
    """On four numbers of deviation 0.5 the sum has deviation 1."""
    many = Noise((0,), 20_000, torch.device("cpu"))
    fading = Schedule(start=0.5, end=0.0, shape="linear")
    objective, flat = Objective(NonSaturating(), instance_noise=fading), Batch(torch.zeros(20_000, 1, 2, 2))
    seen = [objective.noised(flat, many, Progress(step, 100)).images for step in (0, 50, 100)]
    assert [Sum()(images).std().item() for images in seen] == pytest.approx([1.0, 0.5, 0.0], abs=0.02)
    assert objective.schedules() == {"instance_noise": fading}


def test_noise_below_zero_is_refused():
    with pytest.raises(ValueError, match="instance_noise=-1"):
        Objective(NonSaturating(), instance_noise=-1.0)
