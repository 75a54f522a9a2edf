"""One pass with several batches, compared with separate passes."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.testing import assert_close

from gan_runner.model.minibatch import MinibatchDeviation
from gan_runner.nn.coupling import StatisticsPerBatch, sees_single_batches, sees_single_images
from gan_runner.training.run import Run
from tests.conftest import make_run


class Own(nn.Module):
    """A user-defined layer, about which nothing is known."""


@pytest.mark.parametrize(
    ("layer", "images", "batches"),
    [
        (nn.GroupNorm(1, 4), True, True),
        (weight_norm(nn.Linear(4, 4)), True, True),
        (nn.BatchNorm2d(4), False, True),
        (nn.SyncBatchNorm(4), False, False),
        (nn.Dropout(0.5), False, False),
        (spectral_norm(nn.Conv2d(3, 4, 3)), False, False),
        (MinibatchDeviation(4), False, False),
        (Own(), False, False),
        (nn.utils.spectral_norm(nn.Linear(4, 4)), False, False),
        (nn.Flatten(0), False, False),
        (nn.Softmax(0), False, False),
        (nn.RReLU(), False, False),
        (nn.InstanceNorm2d(4, track_running_stats=True), False, False),
        (nn.BatchNorm2d(4, momentum=None), False, False),
        (nn.InstanceNorm2d(4, affine=True), True, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_only_layers_that_are_known_not_to_mind_pass_together(layer: nn.Module, images: bool, batches: bool):
    network = nn.Sequential(nn.Linear(4, 4), layer)
    assert sees_single_images(network) == images
    assert sees_single_batches(network) == batches


def test_batch_norm_sees_each_batch_by_itself_and_remembers_all_in_their_order():
    one, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    scales = torch.arange(1, 5).view(4, 1, 1, 1, 1)
    batches = scales * torch.randn(4, 5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with StatisticsPerBatch(4):
        together = one(batches.flatten(0, 1))
    apart = torch.cat([other(batch) for batch in batches])
    assert_close(together, apart, rtol=0, atol=0)
    assert_close(one.running_mean, other.running_mean, rtol=0, atol=0)
    assert_close(one.running_var, other.running_var, rtol=0, atol=0)


def read(run: Run, steps: int = 3) -> dict[str, float]:
    for _ in range(steps):
        run.meter.add(run.step())
    return run.meter.read()


FIXED = ("device=cpu", "train.batch_size=16", "train.log_every=1")
NARROWEST = ("model.generator.widths=[2]", "model.discriminator.widths=[2]")
NARROW = ("model=dcgan", "dataset=synthetic", "model.generator.width=4", "model.discriminator.width=4")


@pytest.mark.parametrize(
    "overrides",
    [
        ("loss=wgan_gp",),
        pytest.param(
            ("loss=wgan", "loss.n_critic=11", "dataset=synthetic", "dataset.height=128", "dataset.width=128"),
            marks=pytest.mark.long,
        ),
        ("loss=wgan_gp", *NARROW),
        ("loss=wgan_gp", "model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
        ("loss=gan", "loss.n_critic=2", "loss.simultaneous=true", "augment=diffaugment"),
        ("loss=wgan_gp", "train.discriminator_warmup_steps=2", "device.precision=bf16"),
    ],
    ids=lambda overrides: ",".join(overrides[:2]),
)
def test_the_fakes_of_several_updates_made_at_once_train_as_those_made_one_by_one(overrides: tuple[str, ...]):
    runs = [make_run(*FIXED, *overrides) for _ in range(2)]
    assert runs[0].algorithm.discriminator.at_once > 1
    runs[1].algorithm.discriminator.at_once = 1
    one, two = (read(run) for run in runs)
    assert one.keys() == two.keys()
    rounding = 3e-2 if "device.precision=bf16" in overrides else 1e-3
    for tag, value in two.items():
        assert one[tag] == pytest.approx(value, rel=rounding, abs=rounding / 10), tag


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.accumulate=2",),
        ("model.generator.dropout=0.5",),
        pytest.param(("device.compile=true",), marks=pytest.mark.long),
        ("dataset=synthetic", "dataset.height=256", "dataset.width=256", "dataset.count=64", *NARROWEST),
    ],
    ids=lambda overrides: overrides[0],
)
def test_fakes_are_made_one_by_one_where_one_pass_is_not_the_same_or_gains_nothing(overrides: tuple[str, ...]):
    assert make_run(*FIXED, "loss=wgan_gp", *overrides).algorithm.discriminator.at_once == 1


@pytest.mark.parametrize(
    "overrides",
    [
        ("loss=gan",),
        ("loss=wgan_gp",),
        ("loss=hinge", "augment=diffaugment"),
        ("loss=wgan_gp", *NARROW),
        ("loss=gan", "model.discriminator.conditioning=one_hot", "model.generator.conditioning=one_hot"),
    ],
    ids=lambda overrides: ",".join(overrides[:2]),
)
def test_real_and_fake_images_in_one_pass_train_as_in_two(overrides: tuple[str, ...]):
    runs = [make_run(*FIXED, "model.discriminator.norm=none", *overrides) for _ in range(2)]
    assert runs[0].objective.together
    runs[1].objective.together = False
    one, two = (read(run) for run in runs)
    assert one.keys() == two.keys()
    for tag, value in two.items():
        assert one[tag] == pytest.approx(value, rel=1e-3, abs=1e-5), tag
