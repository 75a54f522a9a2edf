"""What logging and housekeeping cost beside the bare step, at the default cadence; measured within one run."""

import time
from pathlib import Path

import pytest

from gan_runner.run import Run
from tests.conftest import train_in


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
