"""The code blocks of README and docs are executed, made short, or marked with the reason why not.

docs/extend.md and docs/python.md have tests of their own. A block of output is marked ```text. A comment
`<!-- not run: reason -->` before a block excepts it.
"""

import re
import shlex
from pathlib import Path
from string import Template
from typing import NamedTuple

import pytest

from gan_runner import benchmark, compare, data, evaluate, networks, reproduce, sample
from gan_runner.export import __main__ as export
from gan_runner.film import __main__ as film
from gan_runner.latent import options as latent
from tests.conftest import Command, configure, real_data, some
from tests.dataset.pictures import encoded, pixels, write_zip

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "outputs" / "README.md"]
SHORT = ("train.log_every=1", "train.grid=4", "train.total_steps=2", "metric=[]", "train.select_by=null")
OPTIONS = {
    "gan_runner.compare": compare.options_of,
    "gan_runner.evaluate": evaluate.options_of,
    "gan_runner.export": export.options_of,
    "gan_runner.film": film.options_of,
    "gan_runner.latent": latent.options_of,
    "gan_runner.reproduce": reproduce.options_of,
    "gan_runner.sample": sample.options_of,
}
OVERRIDES = {"gan_runner.benchmark": benchmark, "gan_runner.data": data, "gan_runner.networks": networks}
PHOTOS = "photos.zip"
FAST = (  # one command of each kind
    "README.md: python -m gan_runner dataset=torch dataset.source=mymodule.MyDataset",
    "use.md: python -m gan_runner loss=wgan_gp",
    "use.md: python -m gan_runner -m loss=gan,wgan_gp seed=0,1 study=first",
    "use.md: python -m gan_runner device.precision=bf16 train.batch_size=128 train.accumulate=2",
    "use.md: python -m gan_runner --cfg job loss=wgan_gp",
)


class Block(NamedTuple):
    page: str
    mark: str  # the reason why it is not run
    language: str
    content: str

    @property
    def lines(self) -> list[str]:
        """Commands, without comments, each in one line."""
        joined = self.content.replace("\\\n", " ")
        return [line for line in (re.sub(r"\s+#\s.*", "", line).strip() for line in joined.splitlines()) if line]


def blocks() -> list[Block]:
    pattern = re.compile(r"(?:<!-- not run: (.*?) -->\n+)?^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)
    pages = [page for page in PAGES if page.name not in ("extend.md", "python.md")]
    return [Block(page.name, *found) for page in pages for found in pattern.findall(page.read_text())]


BLOCKS = blocks()
RUN = [block for block in BLOCKS if not block.mark and block.language != "text"]


def expanded() -> dict[str, str]:
    """Page and command -> the command with the variables of the page, as $STUDY, replaced by their values."""
    found, variables = {}, {}
    for block in (block for block in RUN if block.language == "bash"):
        for line in block.lines:
            name, equals, value = line.partition("=")
            if equals and name.strip("_").isupper() and " " not in name:
                variables[name] = Template(value.strip("'\"")).safe_substitute(variables)
            else:
                found[f"{block.page}: {line}"] = Template(line).safe_substitute(variables)
    return found


LINES = expanded()
TRAINING = {name: line for name, line in LINES.items() if re.match(r"python -m gan_runner( |$)", line)}


def test_every_block_is_of_commands_or_output_or_has_the_reason_why_it_is_not_run():
    assert [block[:3] for block in RUN if block.language != "bash"] == []
    assert [block[:2] for block in BLOCKS if block.mark and len(block.mark) < 10] == []


def test_every_line_of_a_block_is_a_command_that_a_test_knows():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = []
    for name, line in LINES.items():
        if name in TRAINING:
            continue
        words = shlex.split(line)
        known = words[0] == "make" and words[1] in targets
        if words[:2] == ["python", "-m"] and words[2] in OPTIONS:
            OPTIONS[words[2]](words[3:])
            known = True
        if words[:2] == ["python", "-m"] and words[2] in OVERRIDES:
            configure(*(word for word in words[3:] if not word.startswith("--") and "=" in word))
            known = True
        if words[0] == "python" and (ROOT / words[1]).is_file():
            known = set(words[2:]) <= set(re.findall(r"\w+", (ROOT / words[1]).read_text()))
        if not known:
            unknown.append(name)
    assert unknown == []


@pytest.fixture
def files(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages take for granted: photographs, an array, a Dataset."""
    import numpy as np

    monkeypatch.setenv("GAN_RUNNER_CACHE", "cache")
    monkeypatch.setenv("GAN_RUNNER_DATA", str(real_data()))
    photos = {f"{n}.png": encoded(pixels(n, 70, 90)) for n in range(8)}
    write_zip(in_tmp / PHOTOS, photos)
    for name, content in photos.items():
        (in_tmp / "photos").mkdir(exist_ok=True)
        (in_tmp / "photos" / name).write_bytes(content)
    np.savez(in_tmp / "my.npz", images=np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8))
    page = (ROOT / "docs" / "extend.md").read_text()
    (module,) = re.findall(r'```python title="mymodule.py"\n(.*?)```', page, re.DOTALL)
    (in_tmp / "mymodule.py").write_text(module)
    return in_tmp


@pytest.mark.parametrize("line", some(TRAINING, FAST))
def test_a_training_command_of_the_docs_runs(command: Command, files: Path, line: str):
    if real_data() is None and re.search("mnist|ssl|dcgan", line):
        pytest.skip("the real MNIST files are not on this machine (../shared/data or GAN_RUNNER_DATA)")
    words = [re.sub(r"^(seed=\d+),.*", r"\1", word) for word in shlex.split(line)[3:]]  # one seed of a sweep is enough
    searches = ("metric.n_fake=100", "hydra.sweeper.n_trials=2") if "hydra/sweeper=search" in line else SHORT[3:]
    if source := re.search(r"train\.from_weights=outputs/(\w+)", line):
        command(f"name={source[1]}", *SHORT)
    answer = command(*words, *SHORT[:3], *searches)
    assert answer.code == 0, answer.err
    assert "--cfg" in line or "step 2" in answer.out or "status" in answer.out or "completed" in answer.out
