"""Writes on another thread: their order, and where their errors are raised."""

import threading

import pytest

from gan_runner.storage.background import Background


def refused() -> None:
    raise OSError(28, "No space left on device")


def test_a_write_goes_on_beside_its_caller_and_the_next_one_waits_for_it():
    background, gate, done = Background(), threading.Event(), []
    background.begin(lambda: done.append(gate.wait(10)))
    background.check()  # does not wait
    assert done == []
    threading.Timer(0.05, gate.set).start()
    background.begin(lambda: done.append("second"))
    background.close()
    assert done == [True, "second"]


@pytest.mark.parametrize("call", ["wait", "close", "begin"])
def test_the_next_call_raises_the_error_of_a_write_once(call: str):
    background = Background()
    background.begin(refused)
    assert not background.succeeds()
    with pytest.raises(OSError, match="No space"):
        background.begin(refused) if call == "begin" else getattr(background, call)()
    background.check()
    assert background.succeeds()


def test_a_check_raises_the_error_of_a_write_that_has_ended():
    background = Background()
    background.begin(refused)
    background.succeeds()
    with pytest.raises(OSError, match="No space"):
        background.check()
    background.check()
