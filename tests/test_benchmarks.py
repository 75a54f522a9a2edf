"""The script of the measured tables, made short; the memory of the data path at full length."""

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import of_docs
from tests.dataset.pictures import encoded, pixels, write_zip

benchmarks = of_docs("benchmarks")


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("names", "ranks"),
    [
        pytest.param(("width", "n_critic"), (), id="in short", marks=pytest.mark.long),
        pytest.param((*benchmarks.GROWTH,), (1,), id="all", marks=pytest.mark.long),
    ],
)
def test_the_growth_of_costs_is_a_table_by_one_command(
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    ranks: tuple[int, ...],
):
    few = {name: dict(list(benchmarks.GROWTH[name].items())[:2]) for name in names}
    monkeypatch.setattr(benchmarks, "GROWTH", few)
    monkeypatch.setattr(benchmarks, "RANKS", ranks)
    monkeypatch.setattr(sys, "argv", ["benchmarks.py", "growth", "--quick"])
    benchmarks.main()
    found = json.loads((in_tmp / "outputs" / ".benchmarks" / "growth.json").read_text())
    assert list(found) == ["environment", *few, "ranks"]
    for name in few:
        one, other = found[name]
        assert one["images_per_second"]["median"] > 0
        ratio = other["operations_per_image"] / one["operations_per_image"]
        if name == "width":
            assert 3 < ratio < 4  # the square, but for the layers at the images
        elif name == "resolution":
            assert ratio > 4  # one layer more
        elif name == "n_critic":
            assert ratio < 1  # its generator update is shared
        else:
            assert ratio == pytest.approx(1)
    assert len(found["ranks"]) == len(ranks)
    assert all(row["images_per_second"]["median"] > 0 for row in found["ranks"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 * len(few) + len(ranks)
    assert {line.count("|") for line in lines} == {7}


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
