"""The cost of a run in addition to the bare step: logging, samples, checkpoints, memory and start time."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gan_runner.evaluation.sampler import samples_of
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of
from tests.conftest import SMALL, make_run, train_in

ROOT = Path(__file__).parents[1]
MATRIX_RATE = 92e9  # operations a second in fp32, of one thread of the machine of docs/benchmarks.md


def slowness() -> float:
    """Returns how many times slower a thread is than in docs/benchmarks.md, by matrix products; at least 1."""
    torch.set_num_threads(1)
    one, best = torch.randn(1024, 1024), float("inf")
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(one, one)
        best = min(best, time.perf_counter() - started)
    return max(1.0, MATRIX_RATE * best / (2 * 1024**3))


@pytest.mark.long
@pytest.mark.timed
@pytest.mark.parametrize("overrides", [["loss=gan"], ["loss=wgan_gp"]], ids=lambda overrides: overrides[0])
def test_housekeeping_costs_at_most_three_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
):
    spent, step = [], Run.step

    def timed(run: Run) -> dict:
        started = time.perf_counter()
        stats = step(run)
        spent.append(time.perf_counter() - started)
        return stats

    monkeypatch.setattr(Run, "step", timed)
    folder = train_in(tmp_path / "run", "device=cpu", "train.total_steps=3000", *overrides)
    share = folder.read_summary()["seconds"] / sum(spent) - 1
    print(f"{overrides[0]}: {100 * share:.2f} % beside {1000 * sum(spent) / len(spent):.2f} ms a step")  # noqa: T201
    assert share < 0.03


def train_anew(folder: Path, *arguments: str, data: Path = ROOT) -> tuple[float, dict]:
    """Seconds that the whole command took, and its summary."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "gan_runner", "device=cpu", "name=run", *arguments]
    env = {"PYTHONPATH": str(ROOT), "GAN_RUNNER_DATA": str(data), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, timeout=300)
    return time.perf_counter() - started, json.loads((folder / "outputs" / "run" / "summary.json").read_text())


@pytest.mark.long
@pytest.mark.timed
def test_the_first_step_is_done_within_eight_seconds(tmp_path: Path):
    train_anew(tmp_path, "train.total_steps=1")  # warms the file caches
    seconds, _ = train_anew(tmp_path, "train.total_steps=1", "train.fresh=true")
    print(f"a run of one step: {seconds:.1f} s")  # noqa: T201
    assert seconds < 8 * slowness()


@pytest.mark.long
@pytest.mark.timed
def test_ten_thousand_samples_are_judged_within_thirty_seconds(real_mnist: Path, monkeypatch: pytest.MonkeyPatch):
    asked = ("classifier_fid", "classifier_kid", "classifier_score", "classifier_precision_recall", "density_coverage")
    monkeypatch.setenv("GAN_RUNNER_DATA", str(real_mnist))
    limit = 30 * slowness()
    torch.set_num_threads(2)
    run = make_run("dataset=mnist", "device=cpu", f"metric=[{','.join((*asked, 'memorization'))}]")
    assert run.evaluator is not None
    samples = samples_of(sampler_of(run, run.ema.network), 0)
    samples.images(10_000)
    run.evaluator(samples, None, "validation", "ema")  # finds out about the real images, once for good
    samples = samples_of(sampler_of(run, run.ema.network), 0)
    samples.images(10_000)
    started = time.perf_counter()
    run.evaluator(samples, None, "validation", "ema")
    seconds = time.perf_counter() - started
    print(f"metrics of 10,000 samples: {seconds:.1f} s")  # noqa: T201
    assert seconds < limit


@pytest.mark.long
def test_mnist_trains_in_less_than_a_gigabyte_of_its_own(tmp_path: Path, real_mnist: Path):
    """Without the pages of libraries, of which the system counts as many as it happens to hold."""
    command = [sys.executable, "-m", "gan_runner", "dataset=mnist", "loss=wgan_gp", "train.total_steps=600", "name=run"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "GAN_RUNNER_DATA": str(real_mnist)}
    process, most = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL), 0.0
    while process.poll() is None:
        time.sleep(0.1)
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            most = max(most, float(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024)
    assert process.returncode == 0
    print(f"peak memory: {most:.0f} MB")  # noqa: T201
    assert 100 < most < 1000


@pytest.mark.long
def test_a_long_run_stays_as_large_as_it_was(tmp_path: Path):
    """100,000 steps of a tiny network: memory, open files and what it writes per step."""
    settings = (*SMALL, "model.generator.widths=[4]", "model.discriminator.widths=[4]", "train.log_every=100")
    command = [sys.executable, "-m", "gan_runner", *settings, "name=run", "train.total_steps=100000"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    folder, seen = tmp_path / "outputs" / "run", {}
    while process.poll() is None:
        time.sleep(0.5)
        with contextlib.suppress(OSError, IndexError, KeyError, ValueError):
            step = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
            memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096 / 2**20
            open_files = len(os.listdir(f"/proc/{process.pid}/fd"))
            events = sum(path.stat().st_size for path in folder.glob("events*")) / 1024
            seen[step] = (memory, open_files, events)
    assert process.returncode == 0
    early, late = (min(seen, key=lambda step: abs(step - at)) for at in (10_000, 95_000))
    for step in (early, late):
        print("step {}: {:.1f} MB, {} open files, {:.0f} KB of events".format(step, *seen[step]))  # noqa: T201
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    print(f"the folder: {total:.1f} MB")  # noqa: T201
    assert seen[late][0] < seen[early][0] + 5
    assert seen[late][1] == seen[early][1]
    assert seen[late][2] / late < 1.1 * seen[early][2] / early
