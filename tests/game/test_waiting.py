"""No host read within a step, tested on a CPU: no torch operation has a result that Python waits for.

The forward of both updates is also followed with tensors that have a shape, a CUDA device and no numbers: nothing in it
is on the host, or goes there. The rest, backward and optimizers, tests/test_gpu.py does.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gan_runner.game.batches import Part
from gan_runner.loss.adversarial import Wasserstein
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.run import Run
from tests.conftest import LOSSES, NEED_CLASSES, SMALL, make_run, some
from tests.game.recording import NoWaiting, Staying, UncheckedLabels
from tests.game.test_algorithm import PUBLISHED, SYNTHETIC
from tests.game.test_graphs import CASES

STEPS = {
    **{f"mlp and {loss}": (*SMALL, f"loss={loss}") for loss in LOSSES if loss not in NEED_CLASSES},
    **{name: (*SYNTHETIC, *overrides) for name, overrides in PUBLISHED.items() if not name.startswith("ssl_cnn")},
    **{name: overrides for name, overrides in CASES.items() if "device.precision=fp16" not in overrides},
    "every transform of ada": (
        *(*SMALL, "loss=gan", "augment=ada", "augment.probability=0.5"),
        *("augment.imgfilter=1", "augment.noise=1", "augment.cutout=1"),
    ),
}
# The losses; of the networks, what is drawn, normalised or augmented in their forwards, an example of each.
FAST = (
    *(name for name in STEPS if name.startswith("mlp and ")),
    *("resnet and hinge", "ssl_mlp and semi_supervised", "mlp_2014 and minimax", "every transform of ada"),
    *("labels in both networks", "an augmentation that adapts", "augmented images and a penalty", "dropout"),
    *("weight norm, and a generator with spectral norm", "bf16", "batches in two parts", "noise on the images"),
)


def step(*overrides: str) -> None:
    run = make_run(*overrides)
    run.meter.add(run.step())  # what is made at the first step
    with UncheckedLabels(), NoWaiting():
        for _ in range(2):
            run.meter.add(run.step())


@pytest.mark.parametrize("overrides", some(STEPS, FAST))
def test_a_step_reads_nothing_on_the_host(overrides: tuple[str, ...]):
    step(*overrides)


class Reading(Wasserstein):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        loss = super().discriminator(real, fake)
        return loss if torch.isfinite(loss) else loss.detach()


class Choosing(Wasserstein):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(real[real == real], fake)


@pytest.mark.parametrize("term", ["Reading", "Choosing"])
def test_a_read_would_be_seen(term: str):
    with pytest.raises(AssertionError, match="waits for the device"):
        step(*SMALL, "loss=wgan", f"loss.adversarial._target_=tests.game.test_waiting.{term}")


# ---- on a GPU that is none

CUDA, NOW = torch.device("cuda:0"), Progress(0, 100)


@pytest.fixture
def _imagined_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a generator of random numbers nor a backward is there."""
    monkeypatch.setattr(Noise, "generator", lambda self: None)
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs, **rest: (torch.zeros_like(inputs),))


def send(thing: Any) -> Any:
    """To the GPU, in place: networks, and objects of ours that hold tensors."""
    if isinstance(thing, Tensor):
        moved = thing.to(CUDA)
        return nn.Parameter(moved) if isinstance(thing, nn.Parameter) else moved
    if isinstance(thing, list):
        return [send(item) for item in thing]
    if isinstance(thing, nn.Module):
        for module in thing.modules():
            for held in (module._parameters, module._buffers):
                held.update({name: send(tensor) for name, tensor in held.items() if tensor is not None})
    elif type(thing).__module__.startswith("gan_runner."):
        vars(thing).update({name: send(value) for name, value in vars(thing).items()})
    return thing


def part(run: Run, player: str, size: int) -> Part:
    images = torch.zeros(size, *run.real.spec.shape, device=CUDA)
    labels = torch.zeros(size, dtype=torch.long, device=CUDA) if run.real.spec.num_classes else None
    known = Batch(images, labels) if run.objective.semi_supervised else None
    return Part(Batch(images, labels, known), run.batches.noise(player, 0, size))


def forwards(*overrides: str) -> None:
    run = make_run(*overrides)
    with FakeTensorMode(allow_non_fake_inputs=True):
        for thing in (run.generator.network, run.discriminator.network, run.augment, run.objective.adversarial):
            send(thing)
        run.device.torch = CUDA
        parts = (
            part(run, "discriminator", run.settings.batch_size),
            part(run, "generator", run.settings.generator_batch_size),
        )
        with torch.no_grad(), Staying():
            run.algorithm.discriminator.terms(0, NOW, parts[0])
            run.algorithm.generator.terms(NOW, parts[1])


@pytest.mark.usefixtures("_imagined_gpu")
@pytest.mark.parametrize("overrides", some(STEPS, FAST))
def test_the_forward_of_an_update_stays_on_the_gpu(overrides: tuple[str, ...]):
    forwards(*overrides)


class Fetching(Wasserstein):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(real.cpu().to(real), fake)


class Bringing(Wasserstein):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(real + torch.ones(len(real)).to(real), fake)


@pytest.mark.usefixtures("_imagined_gpu")
@pytest.mark.parametrize("term", ["Fetching", "Bringing"])
def test_a_copy_would_be_seen(term: str):
    with pytest.raises(AssertionError, match="goes between cpu, cuda:0"):
        forwards(*SMALL, "loss=wgan", f"loss.adversarial._target_=tests.game.test_waiting.{term}")
