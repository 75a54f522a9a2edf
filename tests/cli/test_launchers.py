"""Sweeps under every launcher: jobs that fail, are killed or stopped, and the other jobs of the sweep."""

import contextlib
import csv
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_runner import compare
from gan_runner.cli import sweep
from gan_runner.errors import ConfigError, Diverged, NotWritten, Stopped
from gan_runner.records.folder import RunFolder
from gan_runner.storage.lock import holder
from tests.conftest import SMALL, Command, metrics

# A user's loss by whose seed a job diverges, or is killed at its first try.
MOODY = """
import os, signal
from pathlib import Path
from torch.nn.functional import softplus

class Moody:
    paired = False
    batch_statistics = False
    zero_is_boundary = True
    estimate = None

    def __init__(self, seed: int):
        self.seed = seed

    def discriminator(self, real, fake):
        if self.seed == 9 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return softplus(-real).mean() + softplus(fake).mean() + (float("nan") if self.seed == 8 else 0.0)

    def generator(self, fake, real):
        return softplus(-fake).mean()
"""
YAML = """
_target_: gan_runner.loss.objective.Objective
adversarial:
  _target_: moody.Moody
  seed: ${seed}
"""
OWN = ("-m", "--config-dir", "mine")
TINY = ("loss=moody", *SMALL, "train.log_every=1", "train.grid=4", "study=s", "name=job${seed}")
SEEDS = "seed=0,1,2,3,4,5,6,7,8,9,10,x"  # 12: the 8th diverges, the 9th is killed, x is no seed
SWEEP = (*TINY, "train.total_steps=2", SEEDS)
PARALLEL = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local",),
    "ray": (
        *("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"),
        "+hydra.launcher.ray.init.include_dashboard=false",
    ),
}


@pytest.fixture
def moody(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a folder with a user-defined loss."""
    Path("mine/loss").mkdir(parents=True)
    Path("mine/loss/moody.yaml").write_text(YAML)
    Path("moody.py").write_text(MOODY)
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    return command


@pytest.fixture
def begun(moody: Command) -> Command:
    """The same, with the first seven jobs of the sweep finished."""
    assert moody(*OWN, *TINY, "train.total_steps=2", "seed=0,1,2,3,4,5,6").code == 0
    return moody


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep as a real process in the working directory, in its own session with its child processes."""
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    env.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, "-m", "gan_runner", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def real(*arguments: str) -> tuple[int, str, str]:
    with started(*arguments) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def table(out: str) -> Counter[str]:
    """Counts the endings of jobs in the lines below the heading."""
    return Counter(match[1] for match in re.finditer(r"^\d+ {2,}(\S+(?: \S+)*)", out, re.MULTILINE))


COMPLETED = {"finished before": 7, "completed": 3, "diverged": 1, "refused": 1}


@pytest.mark.long
def test_a_killed_job_ends_a_pool_and_the_same_command_does_what_is_missing(moody: Command):
    """The short form of the twelve jobs below."""
    both = (*TINY, "train.total_steps=2", "seed=9,1")
    code, out, err = real(*OWN, *PARALLEL["joblib"], *both)
    assert code == sweep.KILLED, err
    assert "Traceback" not in err
    assert table(out)["killed"] >= 1
    answer = moody(*OWN, *both)
    assert answer.code == 0
    assert table(answer.out)["completed"] >= 1
    assert table(answer.out).total() == 2


@pytest.mark.long
def test_twelve_jobs_in_one_process(begun: Command, entry_point: Command):
    """One job is refused, one diverges, and one is killed together with the sweep; the same command completes it."""
    code, _, _ = real(*OWN, *SWEEP)
    assert code == -signal.SIGKILL
    answer = begun(*OWN, *SWEEP)
    assert answer.code == Diverged.exit_code, answer.err  # of the first that failed
    assert table(answer.out) == {"finished before": 8, "completed": 2, "diverged": 1, "refused": 1}
    assert entry_point(compare.main, "outputs/s").code == 0
    rows = csv.DictReader(Path("outputs/s/compare.csv").read_text().splitlines())
    assert Counter(row["status"] for row in rows) == {"completed": 10, "diverged": 1}  # who is refused has no folder


@pytest.mark.long
def test_twelve_jobs_in_a_pool(begun: Command):
    """A killed job ends the sweep with a message; the same command completes it."""
    code, out, err = real(*OWN, *PARALLEL["joblib"], *SWEEP)
    assert code == sweep.KILLED
    assert err.endswith(
        "a job was killed; the same command goes on from its last checkpoint, and does what is missing.\n"
    )
    assert "Traceback" not in err
    assert table(out)["killed"] >= 1
    code, out, err = real(*OWN, *PARALLEL["joblib"], *SWEEP)
    assert code == Diverged.exit_code, err
    assert table(out).total() == 12
    assert (table(out)["diverged"], table(out)["refused"]) == (1, 1)


@pytest.mark.long
def test_twelve_jobs_in_processes_of_submitit(begun: Command):
    """The other jobs finish when one is killed; the next call runs that one."""
    code, out, err = real(*OWN, *PARALLEL["submitit_local"], *SWEEP)
    assert code == sweep.KILLED, err
    assert table(out) == {**COMPLETED, "completed": 2, "killed": 1}
    assert "Traceback" not in err
    answer = begun(*OWN, *SWEEP)
    assert table(answer.out) == {**COMPLETED, "finished before": 9, "completed": 1}


@pytest.mark.long
def test_twelve_jobs_on_a_ray_cluster(begun: Command):
    """Ray restarts a killed job automatically."""
    with short_folder() as folder:
        code, out, err = real(*OWN, *PARALLEL["ray"], f"+hydra.launcher.ray.init._temp_dir={folder}", *SWEEP)
    assert code == Diverged.exit_code, err
    assert Path("killed").exists()
    assert table(out) == COMPLETED


@contextlib.contextmanager
def short_folder() -> Iterator[str]:
    """Paths of sockets are limited in length, and ray puts them into its folder."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_ctrl_c_stops_every_job_after_a_checkpoint(begun: Command, launcher: str):
    """Sends SIGINT to all processes at once, as a terminal does."""
    folders = [RunFolder(Path("outputs/s") / name) for name in ("job0", "job1")]
    with started(*OWN, *PARALLEL[launcher], *TINY, "train.total_steps=1000000", "seed=0,1,2") as process:
        until(lambda: all(holder(folder.path) and metrics(folder)[-1]["step"] > 2 for folder in folders))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in err
    for folder in folders:
        assert folder.status() == "interrupted"
        assert list(folder.checkpoints.glob(f"*{folder.read_summary()['steps']}.pt"))
    assert table(out)["interrupted"] >= 2


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


ALIKE = (*SMALL, "train.total_steps=3", "train.log_every=1", "train.grid=4", "seed=1")


BEFORE = {
    "another loss": ["loss=wgan_gp"],
    "another precision": ["device.precision=bf16"],
    "deterministic": ["device.deterministic=true", "model=dcgan", "model.generator.width=4"],
    "diverged": ["loss=wgan_gp", "optimizer.lr=1e18"],
    "refused": ["loss=wgan_gp", "model.discriminator.norm=batch"],
}


@pytest.mark.long
def test_a_job_is_the_same_after_any_other(command: Command):
    code, _, err = real("-m", *ALIKE, "name=alone")
    assert code == 0, err
    check_after(command, BEFORE)


def test_a_job_is_the_same_before_and_after_others(command: Command):
    """The short form, in one process."""
    assert command("-m", *ALIKE, "name=alone").code == 0
    check_after(command, {name: BEFORE[name] for name in ("deterministic", "diverged")})


def check_after(command: Command, before: dict[str, list[str]]) -> None:
    alone = RunFolder(Path("outputs/alone"))
    for number, (name, overrides) in enumerate(before.items()):
        other = [word for word in ALIKE if "widths" not in word] if "model=dcgan" in overrides else ALIKE
        code = command("-m", *other, *overrides, f"name=before{number}").code
        assert code == {"diverged": 3, "refused": 2}.get(name, 0), name
        assert command("-m", *ALIKE, f"name=after{number}").code == 0
        after = RunFolder(Path(f"outputs/after{number}"))
        assert metrics(after) == metrics(alone), name
        assert equal(state(after), state(alone)), name


def state(folder: RunFolder) -> dict[str, Any]:
    content = torch.load(folder.checkpoints / "step-00000003.pt", weights_only=True)
    del content["state"]["counters"]["seconds"]
    return content["state"]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize(
    "error",
    [
        Stopped(signal.SIGUSR1, "stopped."),
        NotWritten("outputs/x", OSError(28, "full")),
        ConfigError("one.", "two."),
        Diverged("nan"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_ending_travels_between_processes(error: Exception):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), str(error), error.exit_code)


def test_jobs_take_the_gpu_with_the_fewest(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    with sweep.gpu(2) as alone:
        assert alone == 0
    monkeypatch.setenv(sweep.PLACE, str(in_tmp))
    with sweep.gpu(2) as first, contextlib.ExitStack() as others:
        second = others.enter_context(sweep.gpu(2))
        assert [first, second, others.enter_context(sweep.gpu(2))] == [0, 1, 0]
        others.close()  # as after a kill -9: the system opens its files no longer
        with sweep.gpu(2) as free:
            assert free == 1
        with sweep.gpu(1) as only:  # a scheduler chose
            assert only == 0


def test_a_job_is_built_for_its_gpu(command: Command, monkeypatch: pytest.MonkeyPatch):
    built: list[int] = []

    def build(config: dict, ranks: Any) -> None:
        built.append(ranks.local)
        raise ConfigError("enough.")

    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("gan_runner.assembly.build.build", build)
    taken = sweep.gpu

    @contextlib.contextmanager
    def beside_two_others(count: int) -> Iterator[int]:
        with taken(count), taken(count), taken(count) as third:
            yield third

    monkeypatch.setattr("gan_runner.main.gpu", beside_two_others)
    assert command("-m", *SMALL, "seed=0,1").code == 2
    assert built == [2, 2]


def test_a_gpu_that_the_launcher_hides_is_told(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    (in_tmp / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(sweep, "GPUS", in_tmp / "gpus")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not sweep.launcher_advice("auto")
    monkeypatch.setenv(sweep.PLACE, str(in_tmp / "1-of-another-process"))
    assert "gpus_per_node" in sweep.launcher_advice("auto")[0]
    assert not sweep.launcher_advice("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert not sweep.launcher_advice("auto")
