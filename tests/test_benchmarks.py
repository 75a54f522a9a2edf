"""The script that measures the data path, made short; its memory at full length."""

import importlib.util
from pathlib import Path

import pytest

from tests.dataset.pictures import encoded, pixels, write_zip

SPEC = importlib.util.spec_from_file_location("benchmarks", Path(__file__).parents[1] / "docs" / "benchmarks.py")
benchmarks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmarks)


def test_the_rows_of_the_docs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("ROUNDS", 1), ("BATCH", 4), ("BATCHES", 5), ("MANY", 50)):
        monkeypatch.setattr(benchmarks, name, value)
    files = {f"train/{c}/{n}.png": encoded(pixels(n)) for c in "ab" for n in range(80)}
    rows = list(benchmarks.rows(str(write_zip(tmp_path / "a.zip", files)), tmp_path))
    assert len(rows) == 9
    told = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text()
    for name in ("a later start", "the map beside them", "torchvision's ImageFolder and a DataLoader with 2 workers"):
        assert any(row.startswith(name) for row, _ in rows)
        assert name in told


@pytest.mark.long
def test_memory_does_not_grow_with_the_images(tmp_path: Path):
    """200,000 images of 8x8, packed and read twice: less than 1 GB beside the map."""
    path = benchmarks.small_images(tmp_path / "small.zip")
    assert benchmarks.child("memory", str(path), str(tmp_path / "cache"))["mb"] < 1000


@pytest.mark.long
def test_a_larger_set_takes_only_the_memory_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken = []
    for count in (20_000, 100_000):
        monkeypatch.setattr(benchmarks, "MANY", count)
        path = benchmarks.small_images(tmp_path / f"{count}.zip")
        taken.append(benchmarks.child("memory", str(path), str(tmp_path / f"cache{count}"))["mb"])
    assert taken[1] - taken[0] < 80_000 * 2e-3  # 2 KB a name
