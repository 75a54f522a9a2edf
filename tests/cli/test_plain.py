"""Every command that parses its own arguments ends in the same way: one sentence and an exit code."""

import errno
import importlib
from pathlib import Path

import pytest

from gan_runner.errors import NotWritten
from tests.conftest import Command

ENDINGS = {
    "Ctrl-C": (KeyboardInterrupt(), 130, "interrupted; "),
    "a full disk": (NotWritten("outputs", OSError(errno.ENOSPC, "No space left on device")), 2, "outputs cannot be "),
    "a reader that ends, as `head` does": (BrokenPipeError(), 141, ""),
}
COMMANDS = ("sample", "evaluate", "compare", "reproduce", "export.__main__", "film.__main__", "latent.__main__")


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_one_sentence(
    name: str,
    ending: tuple[BaseException, int, str],
    entry_point: Command,
    monkeypatch: pytest.MonkeyPatch,
    in_tmp: Path,
):
    error, code, sentence = ending
    module = importlib.import_module(f"gan_runner.{name}")

    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(module, "options_of", fail)
    monkeypatch.setattr("gan_runner.cli.plain.silence", lambda: None)  # of the test's own output
    answer = entry_point(module.main)
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith(sentence)
    assert answer.err.count("\n") == bool(sentence)
