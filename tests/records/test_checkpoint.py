import os
import pickle
from pathlib import Path

import pytest
import torch

from gan_runner.errors import ConfigError
from gan_runner.records import checkpoint

CONFIG = {"seed": 0}


def save(folder: Path, step: int, **state: object) -> None:
    checkpoint.save(folder, step, checkpoint.packed(CONFIG, {"step": step, **state}), keep=2)


def newest(folder: Path) -> dict:
    used: list[checkpoint.Checkpoint] = []
    assert checkpoint.load_latest(folder, used.append)
    assert used[-1].config == CONFIG
    return used[-1].state


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_the_newest_few_are_kept_and_nothing_else_is_left(tmp_path: Path):
    for step in (5, 10, 99_999_999, 100_000_000):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-100000000.pt", "step-99999999.pt"]
    assert newest(tmp_path) == {"step": 100_000_000}


def test_a_copy_of_the_chosen_step_stays_when_newer_ones_push_it_out(tmp_path: Path):
    for step in (1, 2, 3):
        save(tmp_path, step, counters={"steps": step})
        if step == 2:
            checkpoint.keep_as_best(tmp_path, 1)
    assert names(tmp_path) == ["best.pt", "step-00000002.pt", "step-00000003.pt"]
    assert checkpoint.best_step(tmp_path) == 1
    checkpoint.keep_as_best(tmp_path, 2)
    assert checkpoint.best_step(tmp_path) == 2
    assert newest(tmp_path)["step"] == 3


def test_what_lies_past_a_step_is_set_aside_and_the_step_itself_stays(tmp_path: Path):
    for step in (4, 5, 6, 7):
        checkpoint.save(tmp_path, step, checkpoint.packed(CONFIG, {"step": step}), keep=4)
    checkpoint.set_aside_after(tmp_path, 5)
    assert names(tmp_path) == [*(f"step-0000000{n}.pt" for n in (4, 5)), *(f"step-0000000{n}.damaged" for n in (6, 7))]
    assert newest(tmp_path)["step"] == 5


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None], ids=["empty", "other bytes", "cut short"])
def test_a_damaged_newest_is_named_and_the_one_before_is_used(tmp_path: Path, caplog, damage: bytes | None):
    for step in (1, 2):
        save(tmp_path, step, weights=torch.arange(1000))
    path = tmp_path / "step-00000002.pt"
    path.write_bytes(path.read_bytes()[:500] if damage is None else damage)
    assert newest(tmp_path)["step"] == 1
    assert "step-00000002.pt" in caplog.text


def test_another_format_is_said_to_be_one(tmp_path: Path):
    torch.save({"format": 1, "state": {}}, tmp_path / "step-00000001.pt")
    with pytest.raises(ConfigError, match="has format 1, this version of gan_runner reads 5 to 8"):
        newest(tmp_path)


def test_no_checkpoint_at_all_is_not_the_same_as_none_that_can_be_used(tmp_path: Path):
    assert not checkpoint.load_latest(tmp_path, lambda found: None)
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"none of the 1 checkpoints.*train.fresh=true"):
        newest(tmp_path)


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_code_is_not_run(tmp_path: Path):
    target = tmp_path / "touched"
    torch.save({"format": 1, "state": Touch(target)}, tmp_path / "step-00000001.pt")
    (tmp_path / "step-00000002.pt").write_bytes(pickle.dumps(Touch(target), protocol=2))
    with pytest.raises(ConfigError, match="none of the 2 checkpoints"):
        newest(tmp_path)
    assert not target.exists()
