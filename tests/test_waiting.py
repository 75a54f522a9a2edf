"""No host read within a step, shown on a CPU: torch is asked for nothing whose answer Python would have to wait for.

What a CPU cannot show, copies between host and device, tests/test_gpu.py does.
"""

import pytest
import torch
from torch import Tensor

from gan_runner.loss.adversarial import Wasserstein
from tests.conftest import LOSSES, NEED_CLASSES, SMALL, make_run
from tests.recording import NoWaiting, UncheckedLabels
from tests.test_capture import CASES
from tests.test_run import PUBLISHED, SYNTHETIC

STEPS = {
    **{f"mlp and {loss}": (*SMALL, f"loss={loss}") for loss in LOSSES if loss not in NEED_CLASSES},
    **{name: (*SYNTHETIC, *overrides) for name, overrides in PUBLISHED.items() if not name.startswith("ssl_cnn")},
    **{name: overrides for name, overrides in CASES.items() if "device.precision=fp16" not in overrides},
    "every transform of ada": (
        *(*SMALL, "loss=gan", "augment=ada", "augment.probability=0.5"),
        *("augment.imgfilter=1", "augment.noise=1", "augment.cutout=1"),
    ),
}


def step(*overrides: str) -> None:
    run = make_run(*overrides)
    run.meter.add(run.step())  # what is made at the first step
    with UncheckedLabels(), NoWaiting():
        for _ in range(2):
            run.meter.add(run.step())


@pytest.mark.parametrize("overrides", STEPS.values(), ids=STEPS)
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
        step(*SMALL, "loss=wgan", f"loss.adversarial._target_=tests.test_waiting.{term}")
