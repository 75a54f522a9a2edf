"""The script behind `make gpu`, made short, on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_runner.assembly.build import build
from gan_runner.cli.compose import compose
from tests.conftest import of_docs

ROOT = Path(__file__).parents[1]
gpu = of_docs("gpu")


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)


@pytest.mark.long
def test_one_call_measures_tests_and_trains(tmp_path: Path):
    done = call("--device", "cpu", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["computed"] for row in found["speed"]} >= {"fp32, eager", "bf16, eager", "bf16, contiguous"}
    for row in found["speed"]:
        assert row["images_per_second"]["median"] > 0
        assert 0 < row["share_of_matrix_rate"]["median"] < 1
    assert found["targets"]["DCGAN 32x32"] == {"target": 50_000, "measured": None}
    assert not found["tests"]["failures"]
    assert found["training"]["summary"]["status"] == "completed"
    assert (tmp_path / "samples.png").exists()
    assert "DCGAN 32x32: target 50,000 images/s, not measured" in done.stdout


@pytest.mark.long
def test_what_does_not_fit_into_the_minutes_is_named(tmp_path: Path):
    done = call("--device", "cpu", "--quick", "--out", str(tmp_path), "--minutes", "0")
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["error"] for row in found["speed"]} == {"left out: the time was over"}
    assert "| MLP | bf16, eager | left out: the time was over | - | - |" in done.stdout


def test_a_way_is_measured_in_this_process():
    rows = list(gpu.measure_way("eager", "cpu", quick=True, seconds=60.0))
    assert {row["computed"] for row in rows} >= {"fp32, eager", "bf16, eager"}
    for row in rows:
        assert row["images_per_second"]["median"] > 0
        assert 0 < row["share_of_matrix_rate"]["median"] < 1
        assert gpu.cells(row)[:2] == ("MLP", row["computed"])


def test_a_measurement_without_time_is_left_out():
    rows = list(gpu.measure_way("eager", "cpu", quick=True, seconds=0.0))
    assert {row["error"] for row in rows} == {"left out: the time was over"}
    assert gpu.cells(rows[0]) == ("MLP", rows[0]["computed"], "left out: the time was over", "-", "-")


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="it would measure for minutes")
def test_without_a_gpu_it_says_so_in_a_sentence(tmp_path: Path):
    done = call("--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("make gpu: this machine has no usable CUDA GPU")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", gpu.NETWORKS)
def test_its_networks_are_those_of_the_recipes_and_need_no_download(name: str):
    run = build(compose((*gpu.NETWORKS[name], "device=cpu")))
    assert f"{run.real.spec.height}x{run.real.spec.width}" == name.split()[-1]
    assert run.settings.batch_size == (128 if "DCGAN" in name else 64)
    assert run.objective.n_critic == (1 if "DCGAN" in name else 5)


def test_every_way_is_measured_in_every_precision():
    found = [computed for way in gpu.SHARES for _, computed, _ in gpu.variants(way, "cuda", quick=False)]
    assert len(found) == len(gpu.NETWORKS) * (3 * 4 + 1)
    assert found[: len(gpu.NETWORKS)] == ["bf16, graphs"] * len(gpu.NETWORKS)
