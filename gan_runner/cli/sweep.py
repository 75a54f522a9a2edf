"""Outcomes of the jobs of a sweep: each job records its own, and a table at the end shows all."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from gan_runner.errors import Stopped
from gan_runner.records.console import Terminal, duration, show_error, table
from gan_runner.records.folder import RunFolder
from gan_runner.records.scores import SELECTION, Scores
from gan_runner.storage import lock
from gan_runner.storage.files import storing, write_atomically

PLACE = "GAN_RUNNER_SWEEP"  # environment variable: the folder in which jobs, in any process, record themselves
STOPPED = "stopped"  # a file in this folder with the number of the signal that stopped the sweep
ENDINGS = {2: "refused", 3: "diverged"}  # exit code -> status; any other failure has the status "failed"
KILLED = 128 + signal.SIGKILL
HEADS = ("job", "status", "steps", "time", "selected", "folder", "reason")
FAILURES = ("refused", "diverged", "failed", "interrupted", "killed")
LAUNCHERS = ("joblib", "submitit", "ray")
GPUS = Path("/proc/driver/nvidia/gpus")  # all GPUs of the machine, even those hidden from the process


class Job(NamedTuple):
    """One job of a sweep with its current status."""

    number: int
    status: str
    folder: RunFolder | None
    summary: Mapping[str, Any]
    sentence: str  # why it failed
    code: int  # the exit code that the job would have as a single run


@contextlib.contextmanager
def followed(outputs: Path) -> Iterator[None]:
    """Runs its block; if the command is a sweep, shows a table of all jobs that have begun at the end.

    The exit code is that of the signal that ended the sweep, else that of the first failed job.
    """
    if not {"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv[1:]):
        yield
        return
    place = (outputs / ".sweeps" / f"{os.getpid()}-{uuid.uuid4().hex}").absolute()
    os.environ[PLACE] = str(place)
    code: Any = 0
    try:
        with forwarding(place) if has_launcher() else contextlib.nullcontext():
            yield
    except Exception as error:
        if not of_a_launcher(error):
            raise
        code = KILLED
        killed = any(each.status == "killed" for each in jobs(place))
        sentence = "a job was killed; the same command goes on from its last checkpoint, and does what is missing."
        show_error(sentence if killed else str(error).strip().split("\n")[0])
    except SystemExit as ending:
        code = ending.code
    finally:
        del os.environ[PLACE]
        found = jobs(place)
        if stopping_signal(place):
            code = 128 + stopping_signal(place)
        elif not isinstance(code, int) or code < 128:
            code = next((each.code for each in found if each.status in FAILURES), code)
        show(found)
        shutil.rmtree(place, ignore_errors=True)
    if code:
        sys.exit(code)


def has_launcher() -> bool:
    """Whether the command names a launcher that starts processes for the jobs."""
    chosen = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("hydra/launcher=")]
    return bool(chosen) and chosen[-1] != "basic"


def of_a_launcher(error: BaseException) -> bool:
    """Whether a launcher raised the error, and not a job: one of its processes was killed, mostly that of a job."""
    return type(error).__module__.split(".")[0] in LAUNCHERS


def wait_for_jobs() -> None:
    """Waits until all processes of the launcher have ended.

    submitit returns when the first job is killed, although others still train. Ray would print after the table. joblib
    would reuse its processes, which would then record the next sweep's jobs as jobs of this one.
    """
    if "hydra_plugins.hydra_joblib_launcher._core" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown()
    if "submitit" in sys.modules:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


# ---- signals to a sweep whose jobs are other processes


@contextlib.contextmanager
def forwarding(place: Path) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, stops running jobs after a checkpoint and cancels waiting ones; then the sweep ends.

    A terminal sends SIGINT to all processes at once. The signal is blocked here, and so in all processes started
    within, which protects submitit's controllers. joblib unblocks it, so jobs ignore it themselves (see `noted`).
    """
    over = threading.Event()
    blocked = [signal.SIGINT] if hasattr(signal, "sigtimedwait") else []  # not on macOS

    def listen() -> None:
        while blocked and not over.is_set():
            if signal.sigtimedwait(blocked, 0.2):
                stop(place, signal.SIGINT)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda signum, frame: stop(place, signum)) for number in numbers]
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        wait_for_jobs()
        over.set()
        listener.join()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def stop(place: Path, signum: int) -> None:
    """Sends SIGUSR1, which submitit does not use, to each job that holds its folder on this machine.

    The first signal stops a job after a checkpoint, the second one at once.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / STOPPED).write_text(str(int(signum)))
    for each in jobs(place):
        process = lock.holder(each.folder.path) if each.folder is not None else None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR1)


def stopping_signal(place: Path) -> int:
    """Returns the number of the signal that stopped the sweep; 0 if none did."""
    return int((place / STOPPED).read_text()) if (place / STOPPED).exists() else 0


def check_going_on() -> None:
    """Raises Stopped if the sweep was stopped before this job began; the next call of the command runs the job."""
    signum = stopping_signal(Path(os.environ[PLACE])) if PLACE in os.environ else 0
    if signum:
        raise Stopped(signum, "the sweep was stopped; the same command goes on.")


def is_elsewhere() -> bool:
    """Whether this job runs in another process than the sweep, which then needs an exception to see its failure."""
    return PLACE in os.environ and not Path(os.environ[PLACE]).name.startswith(f"{os.getpid()}-")


def leave_to_the_sweep(signum: int, frame: FrameType | None) -> None:
    """Ignores SIGINT in a job: the sweep receives it too, and stops the job."""


# ---- in the process of a job


@contextlib.contextmanager
def noted(number: int) -> Iterator[None]:
    """Runs a job of a sweep as its block, and records its failure."""
    check_going_on()
    if is_elsewhere():
        signal.signal(signal.SIGINT, leave_to_the_sweep)
    note(number, status=None, sentence="", code=KILLED)  # holds if the process is killed before the next record
    try:
        yield
    except SystemExit:  # raised for a scheduler, which starts the job again
        raise
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        if isinstance(error, KeyboardInterrupt):
            code = 128 + signal.SIGINT
        status = "interrupted" if code > 128 else ENDINGS.get(code, "failed")
        note(number, status=status, sentence=str(error).split("\n")[0], code=code)
        raise


def launcher_advice(kind: object) -> list[str]:
    """Returns advice if the launcher hides all GPUs and kind=auto therefore uses the CPU.

    submitit_local and Ray give a job no GPU unless one is requested.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "" and GPUS.is_dir() and any(GPUS.iterdir())
    if not (is_elsewhere() and hidden and kind == "auto"):
        return []
    return [
        "the launcher shows this job no GPU: hydra.launcher.gpus_per_node=N (submitit_local) or "
        "+hydra.launcher.ray.remote.num_gpus=1 (ray); set device=cpu for jobs that need none."
    ]


@contextlib.contextmanager
def gpu(count: int) -> Iterator[int]:
    """Yields the index of the visible GPU, of `count`, with the fewest jobs of the sweep; holds it until the end."""
    if PLACE not in os.environ or count < 2:
        yield 0
        return
    for turn in itertools.count():
        with open(Path(os.environ[PLACE]) / f"gpu-{socket.gethostname()}-{turn}", "a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno not in lock.WITHOUT_LOCKS:
                    raise
                turn = os.getpid()
            yield turn % count
            return


def note(number: int, **facts: Any) -> None:
    """Adds facts to the record of a job."""
    if PLACE not in os.environ:
        return
    path = Path(os.environ[PLACE]) / f"{number}.json"
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {**(json.loads(path.read_text()) if path.exists() else {}), **facts}
        write_atomically(path, lambda file: file.write(json.dumps(known).encode()))


def jobs(place: Path) -> list[Job]:
    """Returns the recorded jobs, in order of their numbers."""
    return [job(int(path.stem), json.loads(path.read_text())) for path in sorted(place.glob("*.json"), key=in_order)]


def in_order(path: Path) -> int:
    return int(path.stem)


def job(number: int, known: Mapping[str, Any]) -> Job:
    folder = RunFolder(Path(known["folder"])) if "folder" in known else None
    summary = folder.read_summary() if folder is not None else {}
    status = known.get("status") or (folder.status() if folder is not None else None) or "killed"
    return Job(number, status, folder, summary, known["sentence"], known["code"])


def show(found: Sequence[Job]) -> None:
    """Prints the number of jobs by status, and a table with a row for each job."""
    if not found:
        return
    counts = Counter(each.status for each in found)
    terminal = Terminal()
    terminal.show(f"{len(found)} jobs: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    rows = [cells(each) for each in found]
    shown = [n for n, _ in enumerate(HEADS) if any(row[n] for row in rows)]
    terminal.show(table([HEADS[n] for n in shown], [[row[n] for n in shown] for row in rows]))


def cells(each: Job) -> list[str]:
    """Returns the row of a job, one cell for each column of HEADS."""
    scores, summary = Scores(each.summary.get("metrics")), each.summary
    selected = [f"{by} {value:.5g}" for by, split, value in scores.selected() if split == SELECTION]
    done = [str(summary["steps"]), duration(summary["seconds"])] if "steps" in summary else ["", ""]
    where = os.path.relpath(each.folder.path) if each.folder is not None else ""
    return [str(each.number), each.status, *done, "".join(selected), where, each.sentence]
