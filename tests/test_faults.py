"""The table of deliberate faults is kept up with the code."""

from pathlib import Path

import pytest

from tests.faults import ROOT, Result, first_failure, made, path_of, problems, table
from tests.faults_table import FAULTS, Fault

FAULT = Fault("noise.py", "a wrong sign", "low + high", "low - high", "tests/test_noise.py")


def test_every_fault_of_the_table_can_be_made():
    assert problems(FAULTS) == []


def test_every_fault_of_the_table_is_described_once():
    described = [(fault.file, fault.words) for fault in FAULTS]
    assert len(set(described)) == len(described)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository of one file and its tests."""
    for name, text in (("gan_runner/noise.py", "x = low + high\n"), ("tests/test_noise.py", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"before": "low * high"}, "there 0 times"),
        ({"before": "h"}, "there 2 times"),
        ({"file": "absent.py"}, "there 0 times"),
        ({"after": "low + high"}, "the same text"),
        ({"tests": "tests/test_absent.py::test_x"}, "no tests/test_absent.py"),
    ],
    ids=["absent snippet", "snippet twice", "absent file", "no change", "absent tests"],
)
def test_a_fault_that_cannot_be_made_is_one_sentence(copy: Path, change: dict[str, str], words: str):
    assert problems([FAULT], copy) == []
    (sentence,) = problems([FAULT._replace(**change)], copy)
    assert words in sentence


def test_a_fault_is_in_the_copy_while_it_is_tested_and_not_afterwards(copy: Path):
    path = path_of(FAULT, copy)
    with made(FAULT, copy):
        assert path.read_text() == "x = low - high\n"
    assert path.read_text() == "x = low + high\n"


def test_settings_lie_beside_the_package():
    assert path_of(FAULT._replace(file="conf/config.yaml"), ROOT) == ROOT / "conf" / "config.yaml"


def test_the_table_names_the_first_failing_test_and_counts_what_was_missed():
    output = ".F\nFAILED tests/test_noise.py::test_a[1-2] - assert 1 == 2\nERROR tests/test_noise.py::test_b\n"
    assert first_failure(output) == "tests/test_noise.py::test_a[1-2]"
    text = table([Result(FAULT, first_failure(output), 2.4), Result(FAULT, "NOT CAUGHT", 3.0)])
    assert "| noise.py | a wrong sign | tests/test_noise.py::test_a[1-2] | 2 |" in text
    assert text.endswith("2 faults, 1 not caught.")
