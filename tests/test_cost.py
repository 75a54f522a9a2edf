"""What a run costs beside the bare step: logging and housekeeping, memory, and the time until it trains."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gan_runner.run import Run
from tests.conftest import train_in

ROOT = Path(__file__).parents[1]


@pytest.mark.long
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
def test_the_first_step_is_done_within_eight_seconds_of_the_command(tmp_path: Path):
    train_anew(tmp_path, "train.total_steps=1")  # warms the file caches
    seconds, _ = train_anew(tmp_path, "train.total_steps=1", "train.fresh=true")
    print(f"a run of one step: {seconds:.1f} s")  # noqa: T201
    assert seconds < 8


@pytest.mark.long
def test_mnist_trains_in_less_than_one_and_a_half_gigabytes(tmp_path: Path, real_mnist: Path):
    _, summary = train_anew(tmp_path, "dataset=mnist", "loss=wgan_gp", "train.total_steps=600", data=real_mnist)
    print(f"peak memory: {summary['peak_memory_mb']:.0f} MB")  # noqa: T201
    assert summary["peak_memory_mb"] < 1500
