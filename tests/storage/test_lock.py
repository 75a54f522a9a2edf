"""Only one process per folder, by a lock of the file system or by a heartbeat."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from gan_runner.storage import lock


def refused(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, "no locks here")


@pytest.mark.parametrize("locks", [True, False], ids=["a lock", "a heartbeat"])
def test_a_folder_is_held_within_the_context_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool):
    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
        monkeypatch.setattr(lock, "PATIENCE", 0.0)
    assert not lock.is_held(tmp_path)
    with lock.hold(tmp_path):
        assert lock.is_held(tmp_path)
        assert lock.holder(tmp_path) == (os.getpid() if locks else None)
    assert not lock.is_held(tmp_path)


def test_a_second_holder_is_refused_with_the_process_of_the_first(tmp_path: Path):
    with lock.hold(tmp_path), pytest.raises(lock.InUse, match=f"process {os.getpid()} on"), lock.hold(tmp_path):
        pytest.fail("two hold it")
