"""Runs with default settings generate samples that are as diverse as digits."""

import json

import pytest

from tests.conftest import of_docs, train_in

NEAR = "health/neighbour_ratio"


def neighbour_ratios(tmp_path, *overrides: str) -> tuple[list[float], list[str]]:
    """Of every log line in the last third, and the alarms at the end."""
    folder = train_in(tmp_path / "run", "device=cpu", *overrides)
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    last = [line[NEAR] for line in lines if NEAR in line and line["step"] > 2 * lines[-1]["step"] / 3]
    return last, [verdict["name"] for verdict in folder.read_summary()["verdicts"] if verdict["kind"] == "alarm"]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("loss", [pytest.param("gan", marks=pytest.mark.long), "wgan_gp"])
def test_default_settings_give_samples_that_differ(tmp_path, loss: str, seed: int):
    steps = {"gan": 600, "wgan_gp": 150}[loss]
    ratios, alarms = neighbour_ratios(tmp_path, f"loss={loss}", f"seed={seed}", f"train.total_steps={steps}")
    assert min(ratios) > 0.5
    assert alarms == []


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("loss", ["gan", "hinge"])
def test_mnist_by_default_does_not_collapse(tmp_path, real_mnist, loss: str, seed: int):
    typed = ("dataset=mnist", f"dataset.root={real_mnist}", f"loss={loss}", f"seed={seed}", "train.total_steps=3000")
    ratios, alarms = neighbour_ratios(tmp_path, *typed)
    assert min(ratios) > 0.4
    assert alarms == []


def test_the_page_is_that_of_the_records_and_names_a_setting_for_each_failure():
    defaults = of_docs("defaults")
    assert defaults.PAGE.read_text() == defaults.page()
    found = defaults.RECORDS.read()
    failing = [row for row in defaults.rows() if defaults.failing(found, row)]
    assert failing
    for row in failing:
        assert defaults.outcome(found["runs"][row.helped]) == "digits", row.name
