import platform
import resource

import pytest
import torch
from torch import nn

from gan_runner.device import Device
from tests.conftest import HalfOnCPU


def test_auto_takes_the_gpu_where_there_is_one():
    device = Device()
    assert device.torch.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_cpu_computes_in_fp32_unless_asked():
    assert Device("cpu").precision == "fp32"
    with Device("cpu").autocast():
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.float32
    with Device("cpu", precision="bf16").autocast():
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(("settings", "dtype"), [({}, torch.bfloat16), ({"penalty_precision": "fp32"}, torch.float32)])
def test_penalties_leave_autocast_when_asked(settings: dict, dtype: torch.dtype):
    device = Device("cpu", precision="bf16", **settings)
    with device.autocast(), device.penalty_autocast():
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


def test_convolutions_are_contiguous_on_a_cpu_and_channels_last_where_a_gpu_has_matrix_units(
    monkeypatch: pytest.MonkeyPatch,
):
    assert not Device("cpu", precision="bf16").channels_last
    assert Device("cpu", channels_last=True).channels_last
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for precision in ("bf16", "fp16", "tf32"):
        assert Device("cuda", precision=precision).channels_last
    assert not Device("cuda", precision="fp32").channels_last
    assert not Device("cuda", precision="bf16", channels_last=False).channels_last


@pytest.mark.parametrize(("precision", "scaled"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_a_scaler_works_under_fp16_alone_and_penalties_leave_its_autocast(precision: str, scaled: bool):
    device = HalfOnCPU("cpu", precision=precision)
    assert device.scaler().is_enabled() == scaled
    with device.autocast(), device.penalty_autocast():
        assert torch.is_autocast_enabled("cpu") == (precision == "bf16")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kind": "gpu"}, "kind='gpu' is none of auto, cpu, cuda"),
        ({"kind": "cpu", "precision": "fp16"}, "precision=fp16 needs a CUDA GPU"),
        ({"kind": "cpu", "precision": "tf32"}, "precision=tf32 needs a CUDA GPU"),
        ({"kind": "cpu", "graphs": True}, "graphs=true needs a CUDA GPU"),
        ({"graphs": "always"}, "graphs=always is none of auto, true, false"),
        ({"channels_last": "yes"}, "channels_last=yes is none of auto, true, false"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
        ({"penalty_precision": "bf16"}, "penalty_precision='bf16' is none of auto, fp32"),
    ],
)
def test_impossible_devices_are_refused(settings: dict, word: str):
    with pytest.raises(ValueError, match=word):
        Device(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="use device=auto or device=cpu"):
        Device("cuda")


def test_configure_leaves_nothing_of_the_job_before():
    Device("cpu", deterministic=True).configure()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    Device("cpu").configure()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_tf32_is_used_where_it_is_requested_alone(monkeypatch: pytest.MonkeyPatch, precision: str):
    monkeypatch.setattr(Device, "gpu_only", ())
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        Device("cpu", precision=precision).configure()
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_seeding_makes_dropout_repeat():
    device, dropout, ones = Device("cpu"), nn.Dropout(0.5), torch.ones(100)
    draws = []
    for key in (("a", 1), ("a", 2), ("a", 1)):
        device.seed(*key)
        draws.append(dropout(ones))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_peak_memory_is_that_of_this_process():
    assert 50 < Device("cpu").peak_memory_mb() < 100_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library manages memory otherwise")
def test_large_buffers_are_not_taken_from_the_system_again_and_again():
    Device("cpu").configure()

    def pages_touched_anew() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(2**24)  # 64 MB, 16384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert [pages_touched_anew() for _ in range(6)][-1] < 1000


THREADS = {  # OMP_NUM_THREADS, cores, operations of a step, threads recorded -> threads
    "a small step": (None, 4, 1e6, None, 1),
    "a large step": (None, 4, 1e12, None, 4),
    "fewer cores": (None, 2, 1e12, None, 2),
    "a run that had two": (None, 4, 1e6, 2, 2),
    "a run that had one": (None, 4, 1e12, 1, 1),
    "a run that had more than there are": (None, 2, 1e12, 4, 2),
    "a choice of the user": ("3", 1, 1e6, 1, 3),
}


@pytest.mark.parametrize(("chosen", "cores", "operations", "recorded", "threads"), THREADS.values(), ids=THREADS)
def test_threads_follow_the_size_of_a_step_and_what_a_run_had_before(
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    cores: int,
    operations: float,
    recorded: int | None,
    threads: int,
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        device = Device("cpu")
        device.configure()
        assert torch.get_num_threads() == (3 if chosen else 1)
        device.choose_threads(operations, recorded)
        device.configure()  # between two laps of a benchmark
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
