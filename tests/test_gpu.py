"""What only a GPU can show: where the data live, waiting, graphs, compilation. Run by `make gpu`."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from gan_runner.dataset import images as images_module
from gan_runner.training.judging import evaluate
from gan_runner.training.run import Run
from tests.conftest import GPUS, LOSSES, NEED_CLASSES, SMALL, make_run, metrics, train_in, weights
from tests.game import test_graphs
from tests.game.test_algorithm import PUBLISHED, SYNTHETIC
from tests.game.test_graphs import CASES

pytestmark = pytest.mark.gpu

GPU = (*SMALL[:-1], "device=cuda")


def test_the_images_live_on_the_gpu_and_arrive_the_same_from_the_host(monkeypatch: pytest.MonkeyPatch):
    run = make_run(*GPU)
    on_gpu = [next(run.batches.for_discriminator) for _ in range(3)]
    monkeypatch.setattr(images_module, "SHARE_OF_DEVICE", 0.0)
    assert not images_module.fits(run.real.images, run.device.torch)
    run.batches.open()
    for batch in on_gpu:
        other = next(run.batches.for_discriminator)
        assert batch.images.is_cuda
        assert_close(other.images, batch.images, rtol=0, atol=0)
        assert_close(other.labels, batch.labels, rtol=0, atol=0)


def on_the_gpu(*overrides: str) -> tuple[str, ...]:
    return (*(o for o in overrides if o != "device=cpu"), "device=cuda")


ASKS = "RMSprop is not fused: under fp16 the scaler asks on the host whether a gradient overflowed"
WAITS = {
    **{f"mlp and {loss}": (*SMALL, f"loss={loss}") for loss in LOSSES if loss not in NEED_CLASSES},
    **{name: (*SYNTHETIC, *overrides) for name, overrides in PUBLISHED.items()},
    **CASES,
}


def check_waiting(*overrides: str) -> None:
    run = make_run(*on_the_gpu(*overrides))
    for _ in range(3):
        run.meter.add(run.step())
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            run.meter.add(run.step())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("graphs", ["true", "false"])
@pytest.mark.parametrize("overrides", WAITS.values(), ids=WAITS)
def test_the_step_never_waits_for_the_gpu(overrides: tuple[str, ...], graphs: str):
    if graphs == "true" and "loss=began" in overrides:
        pytest.skip("its state changes within an update, so that it has no graphs")
    check_waiting(*overrides, f"device.graphs={graphs}")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_step_never_waits_in_any_precision(loss: str, precision: str):
    if precision == "fp16" and loss in ("wgan", "r1"):
        pytest.skip(ASKS)
    if loss in NEED_CLASSES:
        pytest.skip("its networks are in the table above")
    check_waiting(*SMALL, f"loss={loss}", f"device.precision={precision}")


SCATTERED = ("augment=diffaugment", "augment=ada")  # torch's deterministic scatter copies from the host


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_graphs_change_no_number(overrides: tuple[str, ...]):
    """Bit for bit where the kernels are deterministic, else to rounding: every step's statistics, then the weights."""
    exact = not set(SCATTERED) & set(overrides)
    settings = (*on_the_gpu(*overrides), f"device.deterministic={str(exact).lower()}")
    plain = make_run(*settings, "device.graphs=false")
    graphed = make_run(*settings, "device.graphs=true")
    tolerance = 0.0 if exact else 1e-2
    for one, other in [(plain.step(), graphed.step()) for _ in range(6)]:
        assert one.keys() == other.keys()
        for tag, value in one.items():
            assert_close(other[tag], value, rtol=tolerance, atol=tolerance, equal_nan=True, msg=tag)
    for name, value in weights(plain).items():
        assert_close(weights(graphed)[name], value, rtol=tolerance, atol=tolerance, msg=name)


def test_graphs_are_on_by_default_and_told_where_they_are_not(caplog: pytest.LogCaptureFixture):
    run = make_run(*GPU, "loss=r1")
    run.step()
    run.step()
    assert {player for player, _ in run.graphs.updates} == {"generator", "discriminator"}
    with caplog.at_level("INFO"):
        compiled = make_run(*GPU, "device.compile=true")
    assert not compiled.graphs.on
    assert "there are no CUDA graphs, since device.compile=true" in caplog.text


@pytest.mark.parametrize("loss", ["wgan_gp", "r1"])
def test_a_run_that_is_cut_and_goes_on_with_graphs_is_one_without_them(tmp_path: Path, loss: str):
    settings = (*GPU, "device.deterministic=true", f"loss={loss}", "train.log_every=5", "train.checkpoint_every=10")
    whole = train_in(tmp_path / "whole", *settings, "device.graphs=false", "train.total_steps=40")
    train_in(tmp_path / "cut", *settings, "device.graphs=true", "train.total_steps=17")
    cut = train_in(tmp_path / "cut", *settings, "device.graphs=true", "train.total_steps=40")
    assert metrics(cut) == metrics(whole)


def test_a_recording_that_fails_leaves_the_gpu_as_it_was(caplog: pytest.LogCaptureFixture, monkeypatch: Any):
    """Under auto the run continues without graphs, with the same results (including dropout) as without recording."""
    monkeypatch.setattr(test_graphs.Reading, "__module__", "gan_runner.user")
    overrides = (*GPU, "loss=wgan", "model.discriminator.dropout=0.3", "device.deterministic=true")
    overrides = (*overrides, "loss.adversarial._target_=tests.game.test_graphs.Reading")
    plain, graphed = make_run(*overrides, "device.graphs=false"), make_run(*overrides)
    for one, other in [(plain.step(), graphed.step()) for _ in range(2)]:
        for tag, value in one.items():
            assert_close(other[tag], value, rtol=0, atol=0, msg=tag)
    assert not graphed.graphs.on
    assert caplog.text.count("so that there are no CUDA graphs") == 1


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


def test_housekeeping_is_cheap_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Benchmark: the loop of the default run, compared with the bare step."""
    bare = make_run("device=cuda")
    seconds_per_step(bare, 200)
    step = seconds_per_step(bare, 1000)
    summary = train_in(tmp_path / "run", "device=cuda", "train.total_steps=3000").read_summary()
    loop = summary["seconds"] / 3000
    print(f"\nthe default run: {1e3 * step:.2f} ms a step, {100 * (loop / step - 1):.1f} % of housekeeping")  # noqa: T201
    assert loop < 1.2 * step


def test_metrics_on_a_gpu_are_those_on_a_cpu_and_change_nothing():
    asked = ("metric=[classifier_fid,density_coverage,linear_probe,discriminator_gap]", "metric.n_fake=512")
    run = make_run(*GPU, "model=dcgan", "device.precision=fp32", *asked)
    for _ in range(3):
        run.step()
    before, on_gpu = weights(run), evaluate(run)
    assert_close(weights(run), before, rtol=0, atol=0)
    other = make_run(*SMALL, "model=dcgan", "device.precision=fp32", *asked)
    other.load_state(run.state())
    on_cpu = evaluate(other)
    assert on_gpu is not None
    assert on_cpu is not None
    assert on_gpu.protocols == on_cpu.protocols
    for name, value in on_cpu.values.items():
        assert on_gpu.values[name] == pytest.approx(value, rel=0.02, abs=0.02), name
