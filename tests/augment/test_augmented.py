"""The augmentation in a run: where it is applied, where not, and that runs resume bit for bit."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.augment.ada import ADA
from gan_runner.augment.augmented import Augmented, augmented
from gan_runner.augment.diffaugment import DiffAugment
from gan_runner.loss.penalty import GradientPenalty
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.judging import evaluate
from gan_runner.training.run import Run
from gan_runner.training.showcase import fixed_samples
from tests.augment.test_diffaugment import START, draw, pictures
from tests.conftest import CPUS, GPUS, SMALL, make_run, on, weights
from tests.game.test_algorithm import SGD, check_two_steps, steps

ALL = ("augment.imgfilter=1", "augment.noise=1", "augment.cutout=1")
CHOICES = {
    "flip": ("augment=flip",),
    "diffaugment": ("augment=diffaugment",),
    "ada": ("augment=ada", "augment.probability=0.7", *ALL),
}
MOVING = ("augment=ada", "augment.speed_images=500", "augment.every=2", "augment.target=-1", *ALL)


class Lifted:
    """Adds 5 to every image, and records its inputs."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        self.seen.append(images)
        return images + 5


LIFTED = "augment._target_=tests.augment.test_augmented.Lifted"


def watched(run: Run) -> list[Tensor]:
    """Records the inputs of the discriminator, by call or by forward."""
    inputs: list[Tensor] = []
    first = next(layer for layer in run.discriminator.network.modules() if isinstance(layer, nn.Linear))
    first.register_forward_pre_hook(lambda layer, given: inputs.append(given[0].detach()))
    return inputs


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        ("gan", ["real", "fake", "fake"]),
        ("r3gan", ["real", "fake", "real", "fake", "real", "fake"]),  # the fourth part is its penalty's, at both
        ("acgan", ["real", "fake", "fake"]),
        ("semi_supervised", ["real", "fake", "real", "real", "fake"]),  # the third are those with labels
    ],
)
def test_real_and_fake_are_augmented_in_both_updates(loss: str, shown: list[str]):
    run = make_run(*SMALL, f"loss={loss}", LIFTED)
    inputs, given = watched(run), run.augment.seen
    given.clear()
    run.step()
    assert min(batch.min() for batch in inputs) >= 4
    pixels = {tuple(image.flatten().tolist()) for image in run.dataset.decode(run.dataset.images)}
    for images, kind in zip(given, shown, strict=True):
        assert images.shape == (16, 1, 8, 8)
        assert all((tuple(image.flatten().tolist()) in pixels) == (kind == "real") for image in images)


def test_the_held_out_images_are_augmented_and_samples_and_the_classifier_are_not():
    run = make_run(*SMALL, "loss=wgan_gp", "train.log_every=1", LIFTED)
    inputs = watched(run)
    run.algorithm.discriminator.estimate_held_out(0, run.clock.now())
    assert sum(len(batch) for batch in inputs) == 2 * 16  # real and fake
    assert min(batch.min() for batch in inputs) >= 4
    run = make_run(*SMALL, "loss=semi_supervised", LIFTED)
    run.augment.seen.clear()
    fixed_samples(run)
    evaluate(run)
    assert run.augment.seen == []


def test_without_an_augmentation_nothing_stands_before_the_discriminator():
    run = make_run(*SMALL)
    noise = run.batches.noise("discriminator", 0, 16)
    assert augmented(run.discriminator.network, run.augment, noise, START) is run.discriminator.network


@pytest.mark.parametrize("device", on({n: o for n, o in (CPUS | GPUS).items() if "fp32" not in n}))
def test_augmentations_compute_in_single_precision(device: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    run = make_run(*SMALL, "loss=r1", "augment=ada", "augment.probability=0.7", *ALL, *device)
    kinds, call = set(), ADA.__call__

    def watching(pipeline: ADA, images: Tensor, noise: Noise, progress: Progress) -> Tensor:
        result = call(pipeline, images, noise, progress)
        kinds.update((images.dtype, result.dtype, torch.is_autocast_enabled(images.device.type)))
        return result

    monkeypatch.setattr(ADA, "__call__", watching)
    run.step()
    assert kinds == {torch.float32, False}


class Slope(nn.Module):
    """A linear discriminator."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return (images * self.weight).sum((1, 2, 3))


def test_a_penalty_is_taken_at_the_raw_image_through_the_augmentation():
    """D(x) = <w, T x> has the gradient T* w: under a hole, the norm of w outside of it."""
    weight, real = torch.randn(1, 8, 8), Batch(pictures(6, 1, 8, 8))
    augment = DiffAugment(["cutout"])
    value, _ = GradientPenalty(at="real", center=0.0)(
        Augmented(Slope(weight), augment, draw(6), START), real, real, draw(6)
    )
    kept = Augmented(Slope(weight), augment, draw(6), START).augmented(torch.ones(6, 1, 8, 8))
    assert_close(value, (kept * weight).square().sum((1, 2, 3)).mean())
    assert value < 0.95 * weight.square().sum()


def test_every_call_and_every_multiple_of_the_batch_draws_anew():
    augment, images = DiffAugment(), pictures(4, 3, 16, 16)
    network = Augmented(nn.Identity(), augment, draw(4), START)
    first, second, both = (network.augmented(x) for x in (images, images, torch.cat([images, images])))
    parts = (first, second, *both.split(4))
    assert all(not torch.equal(a, b) for i, a in enumerate(parts) for b in parts[:i])
    again = Augmented(nn.Identity(), augment, draw(4), START)
    assert torch.equal(again.augmented(images), first)


@pytest.mark.parametrize("loss", ["gan", "r3gan", "acgan"])
@pytest.mark.parametrize("augment", CHOICES)
def test_two_parts_are_augmented_as_one_batch(augment: str, loss: str):
    free = (*CHOICES[augment], f"loss={loss}", "model.generator.norm=none", "model.discriminator.norm=layer", *SGD)
    whole = steps(make_run(*SMALL, *free), 3)
    parts = steps(make_run(*SMALL, *free, "train.accumulate=2"), 3)
    assert_close(weights(parts), weights(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", on(CPUS | GPUS))
@pytest.mark.parametrize("k", [1, 4])
def test_a_run_with_an_adaptive_augmentation_resumes_bit_for_bit(k: int, device: tuple[str, ...]):
    """Interrupted between two changes of the probability, and after one."""
    overrides = (*SMALL, *MOVING, *device)
    straight, first = steps(make_run(*overrides), 7), steps(make_run(*overrides), k)
    second = make_run(*overrides)
    second.load_state(copy.deepcopy(first.state()))
    steps(second, 7 - k)
    assert straight.augment.adaptive > 0
    assert_close(second.state()["augment"], straight.state()["augment"], rtol=0, atol=0)
    assert_close(weights(second), weights(straight), rtol=0, atol=0)
    assert second.meter.read() == straight.meter.read()


@pytest.mark.parametrize("device", on(GPUS))
@pytest.mark.parametrize("augment", CHOICES)
@pytest.mark.parametrize("loss", ["gan", "r3gan"])
def test_every_augmentation_trains_and_resumes_on_a_gpu(loss: str, augment: str, device: tuple[str, ...]):
    check_two_steps(*SMALL, f"loss={loss}", *CHOICES[augment], *device)


def test_the_state_of_another_augmentation_is_refused():
    state = make_run(*SMALL).state()
    with pytest.raises(KeyError, match="parts"):
        make_run(*SMALL, *MOVING).load_state(state)


def test_the_schedule_of_the_probability_is_among_the_runs():
    ramp = "{_target_: gan_runner.schedule.Schedule, shape: cosine, start: 0.0, end: 0.5}"
    run = make_run(*SMALL, "loss=r3gan", "augment=ada", f"augment.probability={ramp}", "train.total_steps=2")
    assert "augment.probability" in run.schedules.by_setting()
    assert [run.step()["augment/probability"].item() for _ in range(2)] == [0.0, pytest.approx(0.25)]
