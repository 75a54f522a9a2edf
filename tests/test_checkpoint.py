import os
import pickle
from pathlib import Path

import pytest
import torch

from gan_runner import checkpoint


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_newest_few_are_kept_and_nothing_else_is_left(tmp_path: Path):
    for step in (5, 10, 99_999_999, 100_000_000):
        checkpoint.save(tmp_path, step, {"step": step}, keep=2)
    assert names(tmp_path) == ["step-100000000.pt", "step-99999999.pt"]
    assert checkpoint.load_latest(tmp_path) == {"step": 100_000_000}


def test_a_failed_write_leaves_the_old_ones_and_no_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint.save(tmp_path, 1, {"step": 1}, keep=2)

    def half(content: object, file) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 2, {"step": 2}, keep=2)
    assert names(tmp_path) == ["step-00000001.pt"]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "other bytes", "cut short"])
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path: Path, caplog, damage: bytes | None):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"weights": torch.arange(1000), "step": step}, keep=2)
    newest = tmp_path / "step-00000002.pt"
    newest.write_bytes(newest.read_bytes()[:500] if damage is None else damage)
    state = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert "step-00000002.pt" in caplog.text


def test_another_format_is_said_to_be_one(tmp_path: Path, caplog):
    torch.save({"format": 99, "state": {}}, tmp_path / "step-00000001.pt")
    assert checkpoint.load_latest(tmp_path) is None
    assert "format 99" in caplog.text


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_code_is_not_run(tmp_path: Path):
    target = tmp_path / "touched"
    torch.save({"format": 1, "state": Touch(target)}, tmp_path / "step-00000001.pt")
    (tmp_path / "step-00000002.pt").write_bytes(pickle.dumps(Touch(target), protocol=2))
    assert checkpoint.load_latest(tmp_path) is None
    assert not target.exists()
