"""The arguments that the step passes on: noise, images, labels and counts, observed in a built run.

The learning rate is 0 where images of two updates are compared, so that both players stay as they are.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.game.settings import End
from gan_runner.game.sides import Discriminator
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.noise import Noise
from gan_runner.protocols import Stats
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.run import Run
from gan_runner.training.showcase import fixed_samples
from tests.conftest import CPUS, SMALL, make_run

BATCH = 16
STILL = (*SMALL, "optimizer.lr=0", "train.total_steps=4")
PAIRED = (*STILL, "loss=rsgan", "model.discriminator.norm=none")
FADING = "loss.instance_noise={_target_: gan_runner.schedule.Schedule, shape: linear, start: 1.0, end: 0.0, steps: 4}"
CONSTANT = "train.ema_half_life_images={_target_: gan_runner.schedule.Schedule, start: 160.0}"


class Speckle:
    """An augmentation that adds the noise it is given."""

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        return images + noise.normal(*images.shape[1:])


SPECKLE = "augment._target_=tests.game.test_step_arguments.Speckle"


@contextmanager
def watched(network: nn.Module) -> Iterator[list[Tensor]]:
    """Records the first argument of each call of a network."""
    seen: list[Tensor] = []
    hook = network.register_forward_pre_hook(lambda layer, given: seen.append(given[0].detach().clone()))
    try:
        yield seen
    finally:
        hook.remove()


def shown(run: Run, steps: int = 1) -> list[Tensor]:
    """Batches of images that reach the discriminator, real and fake apart, in the order of the updates."""
    with watched(run.discriminator.network) as seen:
        for _ in range(steps):
            run.step()
    return list(torch.cat(seen).split(BATCH))


def apart(batches: list[Tensor]) -> bool:
    """Returns whether all batches are uncorrelated."""
    rows = torch.stack([batch.flatten() for batch in batches])
    return bool((rows.corrcoef() - torch.eye(len(rows))).abs().max() < 0.15)


@pytest.mark.parametrize("source", ["loss.instance_noise=1.0", SPECKLE], ids=["instance noise", "augmentation"])
def test_real_and_fake_images_of_both_updates_have_noise_of_their_own(source: str):
    plain, noisy = (shown(make_run(*PAIRED, *more), steps=2) for more in ((), (source,)))
    assert len(plain) == len(noisy) == 8  # real and fake, of the discriminator and of the generator, twice
    draws = [after - before for before, after in zip(plain, noisy, strict=True)]
    assert all(draw.std().item() == pytest.approx(1, abs=0.1) for draw in draws)
    assert apart(draws)


def test_no_latent_is_drawn_twice():
    """Neither in another discriminator update, nor for the generator, nor in the next step."""
    run = make_run(*STILL, "loss=wgan", "loss.n_critic=3")
    with watched(run.generator.network) as seen:
        for _ in range(2):
            run.step()
    latents = torch.cat(seen)
    assert len(latents) == 2 * (3 + 1) * BATCH
    assert len(latents.unique(dim=0)) == len(latents)


def test_the_generator_is_compared_with_other_real_images_than_the_discriminator():
    real = [batch.flatten(1) for batch in shown(make_run(*PAIRED))[::2]]
    assert len(real) == 2
    assert not torch.equal(*real)
    assert len(torch.cat(real).unique(dim=0)) > BATCH


def test_dropout_of_the_generators_update_is_not_that_of_the_discriminators():
    run = make_run(*PAIRED, "model.discriminator.dropout=0.5")
    dropped: list[Tensor] = []
    layer = next(layer for layer in run.discriminator.network.modules() if isinstance(layer, nn.Dropout))
    layer.register_forward_hook(lambda layer, given, made: dropped.append((made == 0) & (given[0] != 0)))
    run.step()
    masks = torch.cat(dropped).float().split(BATCH)
    assert len(masks) == 4
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(masks, 2))


def test_a_penalty_is_given_the_real_and_the_fake_images_of_its_update(monkeypatch: pytest.MonkeyPatch):
    given = []
    plain = GradientPenalty.__call__

    def watching(self, discriminator, real, fake, noise):
        given.append((real.images, fake.images, noise.normal(3)))
        return plain(self, discriminator, real, fake, noise)

    monkeypatch.setattr(GradientPenalty, "__call__", watching)
    run = make_run(*STILL, "loss=r1", "model.discriminator.norm=none")
    real, fake, *_ = shown(run)
    run.step()
    assert torch.equal(given[0][0], real)
    assert torch.equal(given[0][1], fake)
    assert apart([draw for _, _, draw in given])


def test_schedules_go_by_the_generator_steps_that_are_done():
    """Deviations of 1, 3/4, 1/2 and 1/4, of both updates of a step alike."""
    plain, noisy = (shown(make_run(*PAIRED, *more), steps=4) for more in ((), (FADING,)))
    deviations = [(after - before).std().item() for before, after in zip(plain, noisy, strict=True)]
    expected = [value for value in (1, 0.75, 0.5, 0.25) for _ in range(4)]
    assert deviations == pytest.approx(expected, rel=0.1)


def test_a_lazy_penalty_is_counted_by_the_discriminator_updates():
    """Every second of three updates a step: due at 0, 2, 4, 6, ..., twice in the first step and once in the next."""
    every = ("loss=wgan_gp", "loss.n_critic=3", "loss.penalties.gradient.every=2")
    run = make_run(*SMALL, *every, "train.total_steps=3")
    counts = []
    points: list[Tensor] = []
    forward = run.discriminator.network.forward

    def counting(images: Tensor, labels: Tensor | None = None) -> Tensor:
        if images.requires_grad and images.is_leaf:
            points.append(images)
        return forward(images, labels)

    run.discriminator.network.forward = counting
    for _ in range(3):
        points.clear()
        run.step()
        counts.append(len(points))
    assert counts == [2, 1, 2]


def kept(run: Run, steps: int = 1) -> float:
    """Returns the share of the previous average that remains after the last of these steps."""
    for _ in range(steps):
        before = torch.cat([p.detach().flatten() for p in run.ema.network.parameters()]).double()
        run.step()
    after = torch.cat([p.detach().flatten() for p in run.ema.network.parameters()]).double()
    live = torch.cat([p.detach().flatten() for p in run.generator.network.parameters()]).double()
    return float((after - live) @ (before - live) / (before - live).square().sum())


@pytest.mark.parametrize("n_critic", [1, 5])
def test_the_half_life_of_the_average_is_in_real_images_of_the_discriminator(n_critic: int):
    run = make_run(*SMALL, "loss=wgan", f"loss.n_critic={n_critic}", "train.generator_batch_size=8", CONSTANT)
    assert kept(run, steps=2) == pytest.approx(0.5 ** (n_critic * BATCH / 160), rel=1e-3)


@pytest.mark.parametrize(("n_critic", "warmup"), [(1, 0), (5, 0), (1, 7)])
def test_a_half_life_that_grows_is_a_twentieth_of_all_images_so_far(n_critic: int, warmup: int):
    """Those before the first generator step are among them; a step itself has n_critic batches."""
    overrides = (f"loss.n_critic={n_critic}", f"train.discriminator_warmup_steps={warmup}")
    run = make_run(*SMALL, "loss=wgan", *overrides, "train.ema_half_life_images=1e6")
    updates = 3 * n_critic + warmup
    assert kept(run, steps=3) == pytest.approx(0.5 ** (n_critic / (0.05 * updates)), rel=1e-2)


@pytest.mark.parametrize(("n_critic", "warmup", "length"), [(1, 0, 10), (1, 3, 7), (2, 3, 4)])
def test_the_length_of_schedules_in_images_counts_those_of_the_warm_up(n_critic: int, warmup: int, length: int):
    """Ten updates show 160 images; with three before the first step, seven are left, of which a step takes n_critic."""
    overrides = (f"loss.n_critic={n_critic}", f"train.discriminator_warmup_steps={warmup}")
    run = make_run(*SMALL, *overrides, "train.total_steps=null", f"train.total_images={10 * BATCH}")
    assert run.clock.length == length
    while run.clock.progress() < 1:
        run.step()
    assert run.clock.steps == length


class Watching(GradientPenalty):
    """Notes in which precision it is computed."""

    def __call__(self, discriminator: nn.Module, real: Batch, fake: Batch, noise: Noise) -> tuple[Tensor, Stats]:
        self.autocast = torch.is_autocast_enabled("cpu")
        return super().__call__(discriminator, real, fake, noise)


WATCHING = "loss.penalties.gradient._target_=tests.game.test_step_arguments.Watching"


@pytest.mark.parametrize(("precision", "expected"), [("fp16", False), ("bf16", True), ("fp32", False)])
def test_a_penalty_leaves_autocast_under_fp16_alone(precision: str, expected: bool):
    run = make_run(*STILL, "loss=wgan_gp", WATCHING, *CPUS[precision])
    run.step()
    assert run.objective.penalties["gradient"].autocast is expected


def test_the_loss_that_is_logged_has_its_penalties():
    stats = make_run(*STILL, "loss=wgan_gp").step()
    assert stats["penalty/gradient"] > 1
    assert_close(stats["loss/discriminator"], stats["loss/adversarial"] + stats["penalty/gradient"])


def test_nothing_is_estimated_in_a_warm_up(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(Discriminator, "estimate_held_out", lambda self, number, now: asked.append(number) or {})
    run = make_run(*STILL, "loss=wgan", "loss.n_critic=2", "train.discriminator_warmup_steps=3")
    for _ in range(2):
        run.step()
    assert asked == [4, 6]  # the last update of each step


def test_the_samples_that_are_shown_have_the_same_noise_at_every_step():
    run = make_run(*STILL)
    before, _ = fixed_samples(run)
    for _ in range(2):
        run.step()
    assert torch.equal(fixed_samples(run)[0], before)  # the rate is 0


def test_the_first_total_that_is_reached_ends_a_run():
    end = End(total_steps=10, total_images=1000, total_seconds=60.0)
    assert end.progress(5, 100, 6.0) == 0.5
    assert end.progress(5, 900, 6.0) == 0.9
    assert end.progress(1, 1, 60.0) == 1.0
