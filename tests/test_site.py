"""The site: generated pages say everything once and completely, and nothing in it comes from another host."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR

from gan_runner.cli.compose import composed
from gan_runner.cli.places import choices_of
from gan_runner.records import tags
from tests.conftest import SMALL, of_docs, train_in
from tests.training.test_session import COMMON, OWN

ROOT = Path(__file__).parents[1]
SOMETIMES = {  # logged by some runs only
    *("loss/class", "loss/supervised", "loss/unsupervised", "metric/test_error", "metric/validation_error"),
    *(
        "metric/classifier_fid",
        "metric/classifier_fid/10000",
        "metric/test/classifier_fid",
        "best/classifier_fid",
        "best/test/classifier_fid",
    ),
    *("schedule/gradient", "schedule/instance_noise", "schedule/momentum/generator"),
    *("augment/probability", "scale/generator", "scale/discriminator"),
}


settings = of_docs("settings")
ALL = [(group, choice) for group in settings.groups() for choice in choices_of(group)]


def every() -> Iterator:
    yield from settings.shared()
    for group, choice in ALL:
        yield from settings.settings_of(group, choice)


def test_every_setting_has_a_meaning_and_a_type():
    found = list(every())
    assert len(found) > 800
    assert [each.key for each in found if not each.meaning or not each.type or not each.default] == []


def test_a_meaning_ends_where_the_next_begins():
    docstring = "Sizes: many.\n\nwidth, height: of a\nlayer. note: wide: None.\ndepth: x.\n\nMore."
    found = settings.entries(docstring, {"width", "height", "note", "depth"})
    assert found == {"width": "of a layer", "height": "of a layer", "note": "wide: null", "depth": "x"}


def test_a_constructor_without_a_docstring_has_no_meaning():
    class Bare:
        def __init__(self, width: int = 3):
            self.width = width

    assert settings.of_class(Bare, "model")["model.width"] == settings.Setting(
        "model.width", "int", "3", "", in_yaml=False
    )


@pytest.mark.parametrize(("group", "choice"), [("loss", "wgan_lp"), ("optimizer", "adam_ssl"), ("device", "cpu")])
def test_a_choice_is_read_as_hydra_composes_it(group: str, choice: str):
    whole = OmegaConf.to_container(composed([f"{group}={choice}"]).config[group], resolve=False)
    assert settings.node_of(group, choice) == whole


def test_every_scalar_has_one_meaning_and_every_meaning_a_scalar():
    logged = COMMON.union(*OWN.values()) | SOMETIMES
    assert [tag for tag in logged if not tags.meaning(tag)] == []
    used = {tags.meaning(tag) for tag in logged}
    assert [pattern for pattern, text in tags.SCALARS.items() if text not in used] == []
    assert tags.meaning("nonsense") == ""


def test_tensorboard_is_given_the_meaning_of_a_scalar_once_a_session(tmp_path: Path):
    folder = train_in(tmp_path / "run", *SMALL, "train.log_every=1", "train.total_steps=3")
    events = EventAccumulator(str(folder.path), size_guidance={"tensors": 0}).Reload()
    found = events.SummaryMetadata("score/gap")
    assert found.summary_description == tags.SCALARS["score/gap"]
    assert found.data_class == DATA_CLASS_SCALAR  # otherwise the faster reader of the command drops the description
    (file,) = folder.path.glob("events*[0-9]")
    assert file.read_bytes().count(tags.SCALARS["score/gap"].encode()) == 1


class References(HTMLParser):
    """What a page loads by itself; links are not loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        loads = tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "object")
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "edit"):
            loads = True
        self.found += [value for key, value in values.items() if loads and key in ("src", "href", "srcset", "data")]


def hosts(path: Path) -> list[str]:
    """The addresses on other hosts that a file of the site loads."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^)'\"]+)", text)
    page = References()
    page.feed(text)
    return [each for each in page.found if re.match(r"(?:https?:)?//", each)]


def test_a_page_that_loads_from_another_host_is_noticed(tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text('<a href="https://a.org"></a><script src="https://b.org/x.js"></script><img src="x.png">')
    assert hosts(page) == ["https://b.org/x.js"]
    page.write_text('<link rel="stylesheet" href="//fonts.org/x.css">')
    assert hosts(page) == ["//fonts.org/x.css"]
    style = tmp_path / "style.css"
    style.write_text("@font-face { src: url(https://c.org/f.woff) } a { background: url(x.png) }")
    assert hosts(style) == ["https://c.org/f.woff"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; strict: a warning, such as a dead link, is an error."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    built = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(built))
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return built


@pytest.mark.long
def test_the_site_builds_and_loads_nothing_from_another_host(site: Path):
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 30
    assert [(path.name, address) for path in files for address in hosts(path)] == []


@pytest.mark.long
def test_the_reference_has_every_choice_and_every_setting(site: Path):
    for group, choice in ALL:
        page = (site / "reference" / f"{group}.html").read_text()
        assert f"<code>{choice}</code>" in page, choice
        row = re.search(rf"<tr>\s*<td><code>{choice}</code></td>(.*?)</tr>", page, re.DOTALL)
        assert len(re.sub(r"<.*?>|\s", "", row[1])) > 5, f"{group}={choice} has no description"
    keys = {each.key for each in every()}
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    assert [key for key in keys if f"{key}</code>" not in text] == []


@pytest.mark.long
def test_every_page_of_docs_is_in_the_navigation(site: Path):
    start = (site / "index.html").read_text()
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")] + [f"reference/{group}" for group in settings.groups()]
    assert [page for page in pages if f'href="{page}.html"' not in start] == []
