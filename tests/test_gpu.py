"""What only a GPU can show: where the data live, waiting, compilation, and speed. Run by `make gpu`."""

import time
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from gan_runner.dataset import images as images_module
from gan_runner.dataset.images import ImageDataset
from gan_runner.run import Run
from tests.conftest import GPUS, LOSSES, SMALL, make_run, metrics, train_in

pytestmark = pytest.mark.gpu

GPU = (*SMALL[:-1], "device=cuda")


class RandomImages(ImageDataset):
    """Colour images of 64x64 random pixels: what they show does not matter to a clock."""

    def __init__(self, count: int = 4096):
        pixels = torch.randint(256, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        super().__init__(pixels, None, {"train": count})


def test_the_images_live_on_the_gpu_and_arrive_the_same_from_the_host(monkeypatch: pytest.MonkeyPatch):
    run = make_run(*GPU)
    on_gpu = [next(run.real_batches) for _ in range(3)]
    monkeypatch.setattr(images_module, "SHARE_OF_DEVICE", 0.0)
    assert not images_module.fits(run.real.images, run.device.torch)
    run.open_streams()
    for batch in on_gpu:
        other = next(run.real_batches)
        assert batch.images.is_cuda
        assert_close(other.images, batch.images, rtol=0, atol=0)
        assert_close(other.labels, batch.labels, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_step_never_waits_for_the_gpu(loss: str, precision: str):
    if precision == "fp16" and loss in ("wgan", "r1"):
        pytest.skip("RMSprop is not fused: the scaler asks on the host whether a gradient overflowed")
    run = make_run(*GPU, f"loss={loss}", f"device.precision={precision}")
    for _ in range(3):
        run.meter.add(run.step())
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            run.meter.add(run.step())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("loss", ["gan", "wgan_gp"])
def test_compilation_on_a_gpu_changes_numbers_only_in_rounding(loss: str):
    read = []
    for compiled in ("false", "true"):
        run = make_run(*GPU, f"loss={loss}", "device.precision=fp32", f"device.compile={compiled}")
        for _ in range(2):
            run.meter.add(run.step())
        read.append(run.meter.read())
    for tag, value in read[0].items():
        assert read[1][tag] == pytest.approx(value, rel=1e-2, abs=1e-3), tag


@pytest.mark.parametrize("device", GPUS.values(), ids=GPUS)
def test_a_cut_run_logs_what_an_uncut_one_does(tmp_path: Path, device: tuple[str, ...]):
    settings = (*GPU, *device, "loss=wgan_gp", "train.log_every=5", "train.checkpoint_every=10")
    whole = train_in(tmp_path / "whole", *settings, "train.total_steps=40")
    train_in(tmp_path / "cut", *settings, "train.total_steps=17")
    cut = train_in(tmp_path / "cut", *settings, "train.total_steps=40")
    assert metrics(cut) == metrics(whole)
    assert cut.read_summary()["environment"]["device"] == torch.cuda.get_device_name()


def seconds_per_step(run: Run, steps: int = 20) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        run.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


VARIANTS = {
    "fp32": (),
    "tf32": ("device.precision=tf32",),
    "fp16": ("device.precision=fp16",),
    "bf16": ("device.precision=bf16",),
    "bf16, channels_last": ("device.precision=bf16", "device.channels_last=true"),
    "bf16, channels_last, compile": ("device.precision=bf16", "device.channels_last=true", "device.compile=true"),
}


@pytest.mark.parametrize("loss", ["gan", "wgan_gp"])
def test_half_precision_pays_on_dcgan(loss: str):
    """Benchmark: dcgan on 64x64 colour images, batch 256; the medians of five alternating rounds."""
    fixed = ("model=dcgan", "~dataset", "+dataset._target_=tests.test_gpu.RandomImages")
    settings = (*fixed, f"loss={loss}", "device=cuda", "device.precision=fp32", "train.batch_size=256")
    runs = {name: make_run(*settings, *overrides) for name, overrides in VARIANTS.items()}
    for run in runs.values():
        seconds_per_step(run)  # compiles, and lets cuDNN choose
    rounds = [{name: seconds_per_step(run) for name, run in runs.items()} for _ in range(5)]
    medians = {name: sorted(times[name] for times in rounds)[2] for name in runs}
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, dcgan 64x64, batch 256, loss={loss}")  # noqa: T201
    for name, seconds in medians.items():
        images = runs[name].objective.n_critic * 256 / seconds
        print(f"  {name:30} {1e3 * seconds:8.2f} ms  {medians['fp32'] / seconds:5.2f}x  {images:9.0f} images/s")  # noqa: T201
    assert medians["bf16"] < medians["fp32"]


def test_housekeeping_is_cheap_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Benchmark: the default run's loop beside the bare step."""
    bare = make_run("device=cuda")
    seconds_per_step(bare, 200)
    step = seconds_per_step(bare, 1000)
    summary = train_in(tmp_path / "run", "device=cuda", "train.total_steps=3000").read_summary()
    loop = summary["seconds"] / 3000
    print(f"\nthe default run: {1e3 * step:.2f} ms a step, {100 * (loop / step - 1):.1f} % of housekeeping")  # noqa: T201
    assert loop < 1.2 * step
