"""Signals, and handlers that schedulers installed before."""

import os
import signal
from collections.abc import Iterator

import pytest

from gan_runner.errors import RankLost
from gan_runner.training.interrupt import Interrupt


@pytest.fixture
def seen() -> Iterator[list[int]]:
    """Signals that the handlers of a scheduler received; installed like those of submitit."""
    heard: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)}
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: heard.append(number))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_one_signal_asks_and_the_next_has_its_old_effect(number: signal.Signals):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signum == number
        assert not interrupt.save
        assert signal.getsignal(number) is before
    interrupt.follow()


def test_a_second_ctrl_c_stops_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without it
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_a_scheduler_that_ignores_sigterm_keeps_the_run_which_saves(seen: list[int]):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interrupt.signum, interrupt.save) == (None, True)
        assert seen == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM] * 2


def test_a_schedulers_requeue_follows_the_stop(seen: list[int]):
    handler = signal.getsignal(signal.SIGUSR2)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert interrupt.signum == signal.SIGUSR2
        assert seen == []
        interrupt.follow()
        assert seen == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR2) is handler


def test_sigusr2_is_left_alone_where_no_scheduler_listens():
    before = signal.getsignal(signal.SIGUSR2)
    with Interrupt():
        assert signal.getsignal(signal.SIGUSR2) is before


def test_a_survivor_of_a_lost_rank_speaks_before_torchruns_sigterm_ends_it():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    with pytest.raises(RankLost), Interrupt():
        raise RankLost
    os.kill(os.getpid(), signal.SIGTERM)  # would end this process
    assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    for number, handler in before.items():
        signal.signal(number, handler)
