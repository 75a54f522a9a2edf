"""Runs that are killed at any moment and restarted give the result of an uninterrupted run, bit for bit."""

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_runner.errors import ConfigError, NotWritten, Stopped
from gan_runner.records.folder import RunFolder
from gan_runner.storage import files, lock
from tests.conftest import SMALL, metrics, some, train_in
from tests.training.test_session import final_state, scalars

EVERY = ("train.log_every=2", "train.sample_every=6", "train.checkpoint_every=3")
CONVOLUTIONS = ("model=dcgan", "model.generator.width=4", "model.discriminator.width=4", *SMALL[2:])
RUNS = {
    "mlp, gan, fp32": (*SMALL, "train.total_steps=90"),
    "mlp, wgan_gp, bf16": (*SMALL, "loss=wgan_gp", "device.precision=bf16", "train.total_steps=45"),
    "dcgan, gan, bf16": (*CONVOLUTIONS, "device.precision=bf16", "train.total_steps=60"),
    "dcgan, wgan_gp, fp32": (*CONVOLUTIONS, "loss=wgan_gp", "train.total_steps=30"),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PLACES = ("open", "write", "fsync", "rename", "directory sync", "remove")  # of the checkpoint path

spawn = multiprocessing.get_context("forkserver")
spawn.set_forkserver_preload(["tests.test_crash", "sklearn.datasets", "torch._inductor"])  # once; runs are forks


@pytest.fixture(scope="module", autouse=True)
def _server_that_finds_this_module() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        forkserver.ensure_running()


def intercept(place: str, act: Callable[[], None], number: int) -> None:
    """Calls act() at the number-th system call of this kind on the way of a checkpoint, before it is made."""
    calls = iter(range(1, 1_000_000))

    def before(call: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if concerns(*arguments) and next(calls) == number:
                act()
            return call(*arguments, **named)

        return wrapped

    def of_a_file(descriptor: int, *_: Any) -> bool:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return "/checkpoints/" in path

    def of_the_folder(descriptor: int) -> bool:
        return os.readlink(f"/proc/self/fd/{descriptor}").endswith("/checkpoints")

    def named_so(path: Any, *_: Any) -> bool:
        return "/checkpoints/" in str(path)

    class Torn:
        """A file whose write is interrupted in its middle."""

        def __init__(self, path: Path, mode: str):
            self.file = open(path, mode)  # noqa: SIM115 (closed by __exit__)
            self.rest = before(self.file.write, lambda *_: True) if named_so(path) else self.file.write

        def __enter__(self) -> "Torn":
            return self

        def __exit__(self, *_: Any) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: Any) -> None:
            half = len(data) // 2
            self.file.write(data[:half])
            self.file.flush()
            self.rest(data[half:])

    if place == "open":
        files.open = before(open, named_so)  # type: ignore[attr-defined]
    elif place == "write":
        files.open = Torn  # type: ignore[attr-defined]
    elif place == "fsync":
        os.fsync = before(os.fsync, of_a_file)
    elif place == "rename":
        os.replace = before(os.replace, named_so)
    elif place == "directory sync":
        os.fsync = before(os.fsync, of_the_folder)
    elif place == "remove":
        Path.unlink = before(Path.unlink, named_so)  # type: ignore[method-assign]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(path: Path, overrides: tuple[str, ...], place: str | None, number: int) -> None:
    """Runs one process from the state of the folder to the end, or until it is killed."""
    torch.set_num_threads(1)
    if place is not None:
        intercept(place, die, number)
    try:
        train_in(path, *overrides, *EVERY)
    except Stopped as stopped:
        os._exit(stopped.exit_code)


def crash_until_done(path: Path, overrides: tuple[str, ...], kills: int, chance: random.Random) -> Counter[str]:
    """Kills a run `kills` times, in turn by a signal at a random moment and within a checkpoint, then lets it end."""
    met: Counter[str] = Counter()
    while met.total() < kills:
        place = chance.choice(PLACES) if met.total() % 2 else None
        process = spawn.Process(target=run, args=(path, overrides, place, chance.randint(1, 3)))
        process.start()
        cause = place or kill_at_random(process, path / "summary.json", chance)
        process.join()
        status = RunFolder(path).status()
        assert status in ("killed", "interrupted", "completed", None), status
        if status == "completed":  # it was faster: begin anew
            train_in(path, *overrides, *EVERY, "train.fresh=true", "train.total_steps=6")
        else:
            met[f"{cause}, {status}"] += 1
    train_in(path, *overrides, *EVERY)
    return met


def kill_at_random(process: Any, summary: Path, chance: random.Random) -> str:
    """A signal, mostly while it trains, else in its start."""
    if chance.random() < 0.8:
        before = summary.stat().st_mtime_ns if summary.exists() else None
        while process.is_alive() and (not summary.exists() or summary.stat().st_mtime_ns == before):
            time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.15))
    number = chance.choice(SIGNALS)
    with contextlib.suppress(ProcessLookupError):  # it came to its end first
        os.kill(process.pid, number)
    return number.name


def check_equal(path: Path, overrides: tuple[str, ...], straight: Path) -> None:
    cut, uncut = RunFolder(path), RunFolder(straight)
    torch.testing.assert_close(final_state(cut), final_state(uncut), rtol=0, atol=0)
    assert metrics(cut) == metrics(uncut)
    assert scalars(cut) == scalars(uncut)
    pictures = [sorted((folder / "samples").iterdir()) for folder in (path, straight)]
    assert [p.name for p in pictures[0]] == [p.name for p in pictures[1]]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*pictures, strict=True))
    assert not [left for left in path.rglob("*") if left.suffix in (".tmp", ".damaged")]


@pytest.mark.parametrize("overrides", some(RUNS, []))
def test_a_run_that_was_killed_twice_ends_as_if_uncut(tmp_path: Path, overrides: tuple[str, ...]):
    check_killed(tmp_path, overrides, 2)


@pytest.mark.long
@pytest.mark.parametrize("kills", [8, 50])
@pytest.mark.parametrize("overrides", RUNS.values(), ids=RUNS)
def test_a_run_that_was_killed_again_and_again_ends_as_if_uncut(tmp_path: Path, overrides, kills: int):
    check_killed(tmp_path, overrides, kills)


def check_killed(tmp_path: Path, overrides: tuple[str, ...], kills: int) -> None:
    times = max(kills, 8) // 8
    longer = tuple(f"train.total_steps={int(o.split('=')[1]) * times}" if "total" in o else o for o in overrides)
    train_in(tmp_path / "straight", *longer, *EVERY)
    met = crash_until_done(tmp_path / "cut", longer, kills, random.Random(f"{kills} {overrides}"))
    print("\n", dict(sorted(met.items())))  # noqa: T201
    assert sum(number for cause, number in met.items() if cause.endswith("killed")) >= max(1, kills // 4)
    check_equal(tmp_path / "cut", longer, tmp_path / "straight")


def no_room() -> None:
    raise OSError(28, os.strerror(28))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    torch.manual_seed(0)
    return train_in(tmp_path_factory.mktemp("straight"), *SMALL, *EVERY, "train.total_steps=12").path


def run_into_a_full_disk(path: Path, place: str, number: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open", open, raising=False)
        for holder, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
            patch.setattr(holder, name, getattr(holder, name))  # so that they come back
        intercept(place, no_room, number)
        try:
            train_in(path, *SMALL, *EVERY, "train.total_steps=12")
        except NotWritten as error:
            return str(error)
    return "it went through"


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_a_refused_write_is_one_sentence_and_loses_nothing(tmp_path: Path, straight: Path, place: str, number: int):
    """At the first and a later checkpoint: the folder stays readable, and the same command resumes the run."""
    answer = run_into_a_full_disk(tmp_path / "run", place, number)
    if place == "remove" and number == 3:
        assert answer == "it went through"  # four saves remove two
    else:
        assert "No space left on device; make room" in answer
        assert RunFolder(tmp_path / "run").status() == "failed"
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        torch.load(path, weights_only=True)
    train_in(tmp_path / "run", *SMALL, *EVERY, "train.total_steps=12")
    check_equal(tmp_path / "run", SMALL, straight)


def run_with_little_room(path: Path, room: int, answers: Any) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        train_in(path, *SMALL, *EVERY, "train.total_steps=12")
        answers.put("it went through")
    except NotWritten as error:
        answers.put(str(error))


ROOM = {"no line": 100, "no picture": 5_000, "half a checkpoint": 20_000}  # bytes


@pytest.mark.parametrize("room", some(ROOM, ["half a checkpoint"]))
def test_a_limit_of_the_operating_system_is_one_sentence(tmp_path: Path, room: int):
    """No write function is replaced here: the kernel refuses the write."""
    answers = spawn.Queue()
    process = spawn.Process(target=run_with_little_room, args=(tmp_path / "run", room, answers))
    process.start()
    answer = answers.get(timeout=60)
    process.join()
    assert "File too large; make room" in answer
    assert not list(tmp_path.rglob("*.tmp"))
    train_in(tmp_path / "run", *SMALL, *EVERY, "train.total_steps=12")
    assert RunFolder(tmp_path / "run").status() == "completed"


def train_at_once(path: Path, start: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    start.wait()
    try:
        train_in(path, *SMALL, "train.total_steps=400")
        answers.put("trained")
    except ConfigError as error:
        answers.put(str(error))


LOCKS = [pytest.param(True, id="flock"), pytest.param(False, id="heartbeat")]


@pytest.mark.parametrize("locks", LOCKS)
def test_of_two_processes_on_one_name_exactly_one_trains(tmp_path: Path, locks: bool):
    check_two_at_once(tmp_path, locks, times=1)


@pytest.mark.long
@pytest.mark.parametrize("locks", LOCKS)
def test_of_two_processes_on_one_name_exactly_one_trains_each_time(tmp_path: Path, locks: bool):
    check_two_at_once(tmp_path, locks, times=20 if locks else 5)


def check_two_at_once(tmp_path: Path, locks: bool, times: int) -> None:
    answers = spawn.Queue()
    for number in range(times):
        start = spawn.Barrier(2)
        target = train_at_once if locks else train_at_once_without_locks
        pair = [spawn.Process(target=target, args=(tmp_path / str(number), start, answers)) for _ in range(2)]
        for process in pair:
            process.start()
        said = sorted(answers.get(timeout=60) for _ in pair)
        for process in pair:
            process.join()
        assert said[1] == "trained"
        assert f"{number} is in use by process " in said[0]


def refuse_locks(*_: Any) -> None:
    raise OSError(lock.WITHOUT_LOCKS[0], "No locks available")


def train_at_once_without_locks(path: Path, start: Any, answers: Any) -> None:
    lock.fcntl.flock = refuse_locks
    train_at_once(path, start, answers)


def test_a_heartbeat_that_stopped_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock.fcntl, "flock", refuse_locks)
    (tmp_path / lock.LOCK).touch()
    (tmp_path / lock.HEARTBEAT).write_text("process 1 on another")
    assert lock.is_held(tmp_path)
    with pytest.raises(lock.InUse, match="process 1 on another"), lock.hold(tmp_path):
        pass
    long_ago = time.time() - 2 * lock.SILENCE
    os.utime(tmp_path / lock.HEARTBEAT, (long_ago, long_ago))
    assert not lock.is_held(tmp_path)
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with lock.hold(tmp_path):
        os.utime(tmp_path / lock.HEARTBEAT, (long_ago, long_ago))
        deadline = time.monotonic() + 10
        while not lock.is_held(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_a_run_that_is_killed_is_told_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    process = spawn.Process(target=run, args=(tmp_path / "run", (*SMALL, "train.total_steps=9"), "write", 2))
    process.start()
    process.join()
    folder = RunFolder(tmp_path / "run")
    assert folder.read_summary()["status"] == "running"
    assert folder.status() == "killed"
    caplog.set_level("INFO", "gan_runner")
    train_in(folder.path, *SMALL, *EVERY, "train.total_steps=9")
    assert "ended without a message" in caplog.text
    assert folder.status() == "completed"
