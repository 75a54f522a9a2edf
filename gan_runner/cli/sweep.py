"""What becomes of the jobs of a sweep: noted as they begin, shown in a table at the end."""

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

PLACE = "GAN_RUNNER_SWEEP"  # the variable by which jobs, in whatever process, know where to note themselves
STOPPED = "stopped"  # the file there that tells them by which signal the sweep was stopped
ENDINGS = {2: "refused", 3: "diverged"}  # by exit code; other failures are just that
KILLED = 128 + signal.SIGKILL
HEADS = ("job", "status", "steps", "time", "selected", "folder", "reason")
FAILURES = ("refused", "diverged", "failed", "interrupted", "killed")
LAUNCHERS = ("joblib", "submitit", "ray")
GPUS = Path("/proc/driver/nvidia/gpus")  # of the machine, whatever a process is shown


class Job(NamedTuple):
    """One of a sweep, as far as it came."""

    number: int
    status: str
    folder: RunFolder | None
    summary: Mapping[str, Any]
    sentence: str  # why it failed
    code: int  # that it would have ended with alone


@contextlib.contextmanager
def followed(outputs: Path) -> Iterator[None]:
    """Around what may be a sweep: shows at the end what became of each job that has begun.

    The exit code is that of a signal that ended it, else of the first job that failed.
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
    """One that starts processes for the jobs."""
    chosen = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("hydra/launcher=")]
    return bool(chosen) and chosen[-1] != "basic"


def of_a_launcher(error: BaseException) -> bool:
    """Not of a job: a process of the launcher's is gone, mostly that of a job."""
    return type(error).__module__.split(".")[0] in LAUNCHERS


def wait_for_jobs() -> None:
    """submitit goes on at the first job that is gone, while the others train; ray would talk after the table; joblib's
    processes would take the jobs of the next sweep for those of this one."""
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
    """Ctrl-C and SIGTERM stop the running jobs after a checkpoint, and those that wait; the sweep then ends by itself.

    A terminal sends SIGINT to all processes at once. Blocked here, it is blocked in what is started within, which
    spares submitit's controllers; joblib unblocks it, so jobs themselves do not listen (see `noted`).
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
    """Asks every job that holds its folder here, by SIGUSR1, which submitit leaves alone; a second time ends it."""
    place.mkdir(parents=True, exist_ok=True)
    (place / STOPPED).write_text(str(int(signum)))
    for each in jobs(place):
        process = lock.holder(each.folder.path) if each.folder is not None else None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR1)


def stopping_signal(place: Path) -> int:
    """That the sweep was stopped by; 0: none."""
    return int((place / STOPPED).read_text()) if (place / STOPPED).exists() else 0


def check_going_on() -> None:
    """A job that has not begun when the sweep is stopped is left to the next call."""
    signum = stopping_signal(Path(os.environ[PLACE])) if PLACE in os.environ else 0
    if signum:
        raise Stopped(signum, "the sweep was stopped; the same command goes on.")


def is_elsewhere() -> bool:
    """Does this job have a process other than the sweep's, which must hear of its end as of a failure?"""
    return PLACE in os.environ and not Path(os.environ[PLACE]).name.startswith(f"{os.getpid()}-")


def leave_to_the_sweep(signum: int, frame: FrameType | None) -> None:
    """Of SIGINT in a job: the sweep has it too, and stops the job once."""


# ---- what a job does


@contextlib.contextmanager
def noted(number: int) -> Iterator[None]:
    """Around a job of a sweep."""
    check_going_on()
    if is_elsewhere():
        signal.signal(signal.SIGINT, leave_to_the_sweep)
    note(number, status=None, sentence="", code=KILLED)  # until it says otherwise
    try:
        yield
    except SystemExit:  # a scheduler's, which begins the job again
        raise
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        if isinstance(error, KeyboardInterrupt):
            code = 128 + signal.SIGINT
        status = "interrupted" if code > 128 else ENDINGS.get(code, "failed")
        note(number, status=status, sentence=str(error).split("\n")[0], code=code)
        raise


def launcher_advice(kind: object) -> list[str]:
    """submitit_local and Ray show a job no GPU unless one is requested, and device=auto then takes the CPU."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "" and GPUS.is_dir() and any(GPUS.iterdir())
    if not (is_elsewhere() and hidden and kind == "auto"):
        return []
    return [
        "the launcher shows this job no GPU: hydra.launcher.gpus_per_node=N (submitit_local) or "
        "+hydra.launcher.ray.remote.num_gpus=1 (ray); set device=cpu for jobs that need none."
    ]


@contextlib.contextmanager
def gpu(count: int) -> Iterator[int]:
    """Of so many that this process sees, the one on which the fewest jobs of the sweep compute, until this one ends."""
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
    """Adds to what is known of a job."""
    if PLACE not in os.environ:
        return
    path = Path(os.environ[PLACE]) / f"{number}.json"
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {**(json.loads(path.read_text()) if path.exists() else {}), **facts}
        write_atomically(path, lambda file: file.write(json.dumps(known).encode()))


def jobs(place: Path) -> list[Job]:
    """In their order."""
    return [job(int(path.stem), json.loads(path.read_text())) for path in sorted(place.glob("*.json"), key=in_order)]


def in_order(path: Path) -> int:
    return int(path.stem)


def job(number: int, known: Mapping[str, Any]) -> Job:
    folder = RunFolder(Path(known["folder"])) if "folder" in known else None
    summary = folder.read_summary() if folder is not None else {}
    status = known.get("status") or (folder.status() if folder is not None else None) or "killed"
    return Job(number, status, folder, summary, known["sentence"], known["code"])


def show(found: Sequence[Job]) -> None:
    """How many jobs ended how, and a line for each."""
    if not found:
        return
    counts = Counter(each.status for each in found)
    terminal = Terminal()
    terminal.show(f"{len(found)} jobs: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    rows = [cells(each) for each in found]
    shown = [n for n, _ in enumerate(HEADS) if any(row[n] for row in rows)]
    terminal.show(table([HEADS[n] for n in shown], [[row[n] for n in shown] for row in rows]))


def cells(each: Job) -> list[str]:
    """As in HEADS."""
    scores, summary = Scores(each.summary.get("metrics")), each.summary
    selected = [f"{by} {value:.5g}" for by, split, value in scores.selected() if split == SELECTION]
    done = [str(summary["steps"]), duration(summary["seconds"])] if "steps" in summary else ["", ""]
    where = os.path.relpath(each.folder.path) if each.folder is not None else ""
    return [str(each.number), each.status, *done, "".join(selected), where, each.sentence]
