"""The examples of docs/extend.md: every file is written, and every command run, as on the page."""

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gan_runner import data, evaluate, main, networks, sample
from tests.conftest import Command, some

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()
SHORT = ("train.total_steps=2", "train.log_every=1", "train.grid=4", "device=cpu")
FAST = ("A loss", "A dataset from arrays", "A Dataset of torch")
ENTRIES = {
    "gan_runner": main.main,
    "gan_runner.data": data.main,
    "gan_runner.evaluate": evaluate.main,
    "gan_runner.networks": networks.main,
    "gan_runner.sample": sample.main,
}


class Block(NamedTuple):
    language: str
    file: str
    content: str


def blocks(text: str) -> list[Block]:
    found = re.findall(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
    return [Block(*each) for each in found]


SECTIONS = {title: blocks(text) for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)}


def test_every_kind_of_the_page_has_files_commands_and_a_refusal():
    for words in ("loss", "penalty", "network", "arrays", "Dataset of torch", "ImageDataset", "metric", "augmentation"):
        (title,) = (title for title in SECTIONS if title.endswith(words))
        kinds = [block.language for block in SECTIONS[title]]
        assert kinds[0] == "python", title
        assert kinds[-2:] == ["bash", "text"], title
        assert kinds.count("bash") >= 2, title
    assert set(SECTIONS) == {title for title in SECTIONS if len(SECTIONS[title]) >= 4}


@pytest.mark.parametrize("title", some({title: title for title in SECTIONS}, FAST))
def test_the_files_and_commands_of_a_section_work(
    command: Command, entry_point: Command, monkeypatch: pytest.MonkeyPatch, title: str
):
    files = [block for block in SECTIONS[title] if block.file]
    for block in files:
        Path(block.file).parent.mkdir(parents=True, exist_ok=True)
        Path(block.file).write_text(block.content)
        monkeypatch.delitem(sys.modules, Path(block.file).stem, raising=False)
    rest = [block for block in SECTIONS[title] if not block.file]
    for block, after in zip(rest, [*rest[1:], None], strict=True):
        refused = after is not None and after.language == "text"
        for line in block.content.splitlines() if block.language == "bash" else ():
            _, *words = shlex.split(line)
            if words[0].endswith(".py"):
                runpy.run_path(words[0])
                continue
            assert words[0] == "-m"
            short = SHORT if words[1] == "gan_runner" else ()
            answer = entry_point(ENTRIES[words[1]], *words[2:], *short)
            assert answer.code == (2 if refused else 0), answer.err
            if refused:
                assert after.content.strip() in answer.err
                assert answer.err.strip().count("\n") == 0
    for block in files:
        sys.modules.pop(Path(block.file).stem, None)
