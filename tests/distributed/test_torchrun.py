"""The command under the real torchrun: one rank writes and prints, and all ranks end when one is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.testing import assert_close

from gan_runner import benchmark, data, networks, sample
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from gan_runner.storage import lock
from tests.conftest import SMALL, Command, train_in

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
LONG = (*SMALL, "name=run", "train.log_every=10", "train.checkpoint_every=20", "train.total_steps=100000")


def start(folder: Path, *arguments: str, restarts: int = 0) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, f"--max-restarts={restarts}", "-m", "gan_runner", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def ending(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def newest(folder: RunFolder) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.stem.split("-")[1]) for path in folder.checkpoints.glob("step-*.pt")), default=0)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    return [int(n) for path in Path(f"/proc/{process.pid}/task").glob("*/children") for n in path.read_text().split()]


def writer(folder: RunFolder) -> int:
    return int(folder.read_summary()["process"].split()[0])


def kill(rank: int, process: subprocess.Popen[str], folder: RunFolder) -> None:
    """Rank 0 is the one that writes."""
    first = writer(folder)
    ranks = sorted(ranks_of(process), key=lambda number: number != first)
    assert len(ranks) == 2
    os.kill(ranks[rank], signal.SIGKILL)


@pytest.mark.long
def test_a_killed_rank_ends_all_and_the_same_command_goes_on(tmp_path: Path):
    folder = RunFolder(tmp_path / "outputs" / "run")
    killed = start(tmp_path, *LONG)
    wait_for(lambda: newest(folder) >= 20, killed)
    ranks = ranks_of(killed)
    kill(1, killed, folder)
    code, out, err = ending(killed, seconds=20)
    assert code != 0
    assert err.count("another rank has ended") == 1
    assert out.count("step 20 ") == 1
    assert "File" not in err.split("torch/distributed")[0]  # no traceback of ours before torchrun's own
    assert folder.status() == "failed"
    assert not lock.is_held(folder.path)
    assert len(list(folder.path.glob("events*[0-9]"))) == 1
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)

    before = newest(folder)
    again = start(tmp_path, *LONG, restarts=1)
    wait_for(lambda: newest(folder) > before, again)
    between = newest(folder)
    kill(0, again, folder)  # torchrun itself starts both anew
    wait_for(lambda: newest(folder) > between + 20, again)
    again.send_signal(signal.SIGTERM)
    _, out, err = ending(again)
    assert f"going on from step {before}" in out
    assert out.count("going on from step") == 2
    assert err.count("stopped by SIGTERM at step") == 1
    assert folder.status() == "interrupted"
    assert newest(folder) == folder.read_summary()["steps"]
    assert len(list(folder.path.glob("events*[0-9]"))) == 3


@pytest.mark.long
def test_all_ranks_start_from_the_weights_that_the_first_one_reads(tmp_path: Path):
    source = train_in(tmp_path / "outputs" / "source", *SMALL, "train.total_steps=2", "optimizer.lr=0.01", "metric=[]")
    arguments = (*SMALL, "train.from_weights=outputs/source", "train.total_steps=1", "name=begun", "metric=[]")
    code, out, err = ending(start(tmp_path, *arguments, "optimizer.lr=0"))
    assert code == 0, err
    assert out.count("5 of 5 layers taken") == 2  # generator and average, once
    begun = checkpoint.load(tmp_path / "outputs" / "begun" / "checkpoints" / "step-00000001.pt").state
    for player, last in checkpoint.load(source.checkpoints / "step-00000002.pt").state.items():
        if player in ("generator", "discriminator"):
            assert_close(
                begun[player]["network"]["layers.0.weight"], last["network"]["layers.0.weight"], rtol=0, atol=0
            )


@pytest.mark.long
def test_a_mistake_is_told_once_and_leaves_nothing(tmp_path: Path):
    code, out, err = ending(start(tmp_path, *SMALL, "loss=dragan"))
    assert code != 0
    assert out == ""
    assert err.count("torchrun must start 1 process with this loss") == 1
    assert "exitcode  : 2 " in err  # of the rank that ended first, as torchrun reports
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_sweep_trains_one_run_after_the_other_on_all_ranks(tmp_path: Path):
    code, out, err = ending(start(tmp_path, "-m", "loss=dragan,gan", "device=cpu", "train.total_steps=2"))
    assert code != 0
    assert out.count("failed: ") == 1
    assert err.count("Traceback") == 1  # torchrun's
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == [".sweeps", "default"]
    folder = RunFolder(tmp_path / "outputs" / "default")
    assert folder.status() == "completed"
    assert len(list(folder.path.glob("events*[0-9]"))) == 1


DOORS = {"networks": networks.main, "data": data.main, "benchmark": benchmark.main, "sample": sample.main}


@pytest.mark.parametrize("main", DOORS.values(), ids=DOORS)
def test_the_other_doors_are_for_one_process(
    entry_point: Command, monkeypatch: pytest.MonkeyPatch, main: Callable[[], None]
):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    answer = entry_point(main)
    assert answer.code == 2
    assert answer.err.strip() == "torchrun is for python -m gan_runner; start this command without it."
