"""Hook of mkdocs: generates docs/reference/ from conf/ and docstrings, the first page from the README, and the tour.

The pages exist only in the built site.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import settings  # docs/settings.py: mkdocs puts the folder of a hook on the path
from hydra.utils import get_object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gan_runner import errors
from gan_runner.cli.places import PACKAGE, choices_of
from gan_runner.records import tags

ROOT = Path(__file__).parents[1]
CONTENTS = {  # group -> what it chooses; a further group gets a page without this sentence
    "augment": "Augments the images that the discriminator sees. [Augmentation](../augment.md) has pictures.",
    "dataset": "The data. [Datasets](../datasets.md) describes folders, splits, the cache and toy data.",
    "device": "Where and in which precision a run computes.",
    "experiment": "A complete recipe: a file that chooses from the other groups and sets their settings.",
    "loss": "What both players minimise. [Losses](../losses.md) has the formulas and the meaning of each curve.",
    "metric": "Measures samples; several with `metric=[fid,parzen]`. [Metrics](../metrics.md) has the protocol.",
    "model": "Both networks. [Networks](../networks.md) has their sizes.",
    "optimizer": "The optimizers of both players. A loss selects its published one.",
}
OBJECTIVE = "gan_runner.loss.objective.Objective"  # the class of most losses, which differ in the adversarial term
MANY = 9  # choices beyond which a row names only their number


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds to the navigation a page for each group, and, under Use, the pages of docs/ that it does not name."""
    assert config.nav is not None
    parts = {title: part for entry in config.nav for title, part in entry.items()}
    parts["Reference"][2:2] = [{group: f"reference/{group}.md"} for group in settings.groups()]
    named = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    parts["Use"] += sorted({path.name for path in Path(config.docs_dir).glob("*.md")} - named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, content in (pages() | tour()).items():
        files.append(File.generated(config, path, content=content))
    return files


def tour() -> dict[str, str | bytes]:
    """Returns the notebook as Markdown, and its pictures."""
    from nbconvert import MarkdownExporter

    names = {"output_files_dir": "images/tour", "unique_key": "tour"}
    text, found = MarkdownExporter().from_filename(str(ROOT / "docs" / "tour.ipynb"), resources=names)
    return {"tour.md": text, **found["outputs"]}


def pages() -> dict[str, str]:
    """Returns path -> Markdown of every generated page."""
    found = {
        "index.md": home(),
        "changelog.md": within_site(from_root("CHANGELOG.md")),
        "reference/index.md": overview(),
    }
    found |= {"reference/train.md": shared_page(), "reference/tags.md": tags_page()}
    found |= {f"reference/{group}.md": group_page(group) for group in settings.groups()}
    found |= {"reference/commands.md": commands_page(), "reference/exit_codes.md": exit_codes_page()}
    return found | {"reference/run_folder.md": from_root("outputs/README.md")}


def from_root(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def home() -> str:
    """Returns the README, with its links into docs/ within the site."""
    return within_site(from_root("README.md")).replace("](CHANGELOG.md)", "](changelog.md)")


def within_site(text: str) -> str:
    return text.replace("](docs/", "](").replace("](tour.ipynb)", "](tour.md)")


def overview() -> str:
    rows = [[f"[{group}]({group}.md)", CONTENTS.get(group, ""), len(choices_of(group))] for group in settings.groups()]
    about = [re.sub(r"\]\(\.\./", "](../", str(row[1])) for row in rows]
    listed = [[name, text, count] for (name, _, count), text in zip(rows, about, strict=True)]
    return f"""# Reference

These pages are generated from `conf/` and from the docstrings of the code.

A word `group=choice` chooses a file of `conf/`; a word `setting=value` changes one setting. `python -m gan_runner --cfg
job` prints the composed configuration, and does not train.

{table(["group", "what it chooses", "choices"], listed)}

[Settings of every run](train.md) are those of `train`, the seed, the name and the study. Further pages:
[commands](commands.md), [TensorBoard tags](tags.md), [exit codes](exit_codes.md), [run folder](run_folder.md).
"""


def shared_page() -> str:
    rows = [row(each.key, [("", each)], 1) for each in settings.shared()]
    return f"""# Settings of every run

A total that is typed replaces all totals that are not typed, those of an experiment included. With several totals the
first one that is reached ends the run; the last log line says which.

{table(["setting", "type", "default", "meaning"], [each[:4] for each in rows])}

A schedule can replace the number of a setting of type `schedule`, and any number of an optimizer except `lr`:
`optimizer.momentum={{_target_: gan_runner.schedule.Schedule, shape: linear, start: 0.5, end: 0.7}}`.
"""


def group_page(group: str) -> str:
    names = choices_of(group)
    parts = [f"# {group}", CONTENTS.get(group, ""), f"## Choices of {group}", choices_table(group, names)]
    by_row: dict[tuple[str, str], list[tuple[str, settings.Setting]]] = {}
    for name in names:
        for setting in settings.settings_of(group, name):
            by_row.setdefault((setting.key, setting.meaning), []).append((name, setting))
    if by_row:
        rows = [row(key, found, len(names)) for (key, _), found in sorted(by_row.items())]
        parts += [f"## Settings of {group}", legend(by_row), settings_table(rows)]
    if group == "loss":
        parts += ["## Penalties and constraints", addable()]
    return "\n\n".join(part for part in parts if part) + "\n"


def legend(by_row: Mapping[tuple[str, str], Sequence[tuple[str, settings.Setting]]]) -> str:
    added = any(not setting.in_yaml for found in by_row.values() for _, setting in found)
    return "A setting with a plus is not in the file of the choice, and needs the plus on the command line." * added


def settings_table(rows: Sequence[Sequence[object]]) -> str:
    return table(["setting", "type", "default", "meaning", "of"], rows)


def row(key: str, found: Sequence[tuple[str, settings.Setting]], total: int) -> list[str]:
    """Returns the row of a setting: its default for each choice if they differ, and the choices that have it."""
    by_default: dict[str, list[str]] = {}
    for choice, setting in found:
        by_default.setdefault(setting.default, []).append(choice)
    most = max(by_default, key=lambda default: len(by_default[default]))
    others = [f"{code(value)} ({', '.join(names)})" for value, names in by_default.items() if value != most]
    choices = [choice for choice, _ in found]
    named = "all" if len(choices) == total else f"{len(choices)} choices" if len(choices) > MANY else ", ".join(choices)
    plus = "+" if not any(setting.in_yaml for _, setting in found) else ""
    setting = found[0][1]
    default = "; ".join([code(most), *others])
    return [f"`{plus}{key}`", setting.type, default, setting.meaning, named]


def code(value: str) -> str:
    if value == "required":
        return value
    return re.sub(r"(, or the environment variable |, else )", r"`\1`", f"`{value}`")


def choices_table(group: str, names: Sequence[str]) -> str:
    head, rows = [f"`{group}=`", "what it is", "source and remarks"], [[f"`{n}`", *about(group, n)] for n in names]
    columns = 3 if any(each[2] for each in rows) else 2
    return table(head[:columns], [each[:columns] for each in rows])


def about(group: str, choice: str) -> tuple[str, str]:
    """Returns what a choice is, from the docstring of its class, and the comment at the top of its file."""
    top = settings.header(group, choice)
    node = settings.node_of(group, choice)
    if group == "optimizer":
        notes = settings.notes_of(group, choice)
        parts = [
            f"{key} {settings.spelled(value, group)}" for key, value in node.items() if not isinstance(value, dict)
        ]
        name = node["generator"]["_target_"].rpartition(".")[2]
        return f"{name}, {', '.join(parts)}", top or "; ".join(dict.fromkeys(notes.values()))
    if group in settings.GROUP_ONLY:
        return top, ""
    target = main_class(group, node)
    what = first_paragraph(target, module=group == "model") if target is not None else ""
    return what + "".join(f"; {name}" for name in beside(node)), top


def beside(node: Mapping[str, Any]) -> list[str]:
    """Returns the classes of a loss's penalties and of its constraint."""
    parts = [*(node.get("penalties") or {}).values(), node.get("constraint")]
    return [f"with {part['_target_'].rpartition('.')[2]}" for part in parts if isinstance(part, dict)]


def main_class(group: str, node: Mapping[str, Any]) -> type | None:
    """Returns the class that tells most of a choice: of an objective its adversarial term, of a model a network."""
    if group == "metric":
        (node,) = node.values()
    elif group == "model":
        node = node["discriminator"]
    elif node.get("_target_") == OBJECTIVE:
        node = node["adversarial"]
    target = get_object(node["_target_"]) if "_target_" in node else None
    assert target is None or isinstance(target, type)
    return target


def first_paragraph(target: type, module: bool = False) -> str:
    """Returns the first paragraph of a docstring, or of that of its module."""
    docstring = inspect.getdoc(inspect.getmodule(target) if module else target) or ""
    return settings.in_words_of_yaml(docstring.split("\n\n")[0])


def addable() -> str:
    """Returns the penalties and constraints that any loss can have, and their settings."""
    parts = [
        """Any loss can get a penalty or a constraint:

```yaml
+loss.penalties.r1={_target_: gan_runner.loss.penalty.GradientPenalty, at: real, center: 0, weight: 5}
loss.constraint={_target_: gan_runner.loss.constraint.SpectralNorm}
loss.penalties.gradient=null
```"""
    ]
    for name in ("penalty", "constraint"):
        module = importlib.import_module(f"gan_runner.loss.{name}")
        for target in classes(module):
            path = "loss.penalties.NAME" if name == "penalty" else "loss.constraint"
            found = settings.of_class(target, path)
            rows = [[f"`{each.key}`", each.type, code(each.default), each.meaning] for each in found.values()]
            parts += [f"### {target.__name__}", f"`{module.__name__}.{target.__name__}`: {first_paragraph(target)}."]
            parts += [table(["setting", "type", "default", "meaning"], rows)] if rows else []
    return "\n\n".join(parts)


def classes(module: types.ModuleType) -> list[type]:
    return [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]


def tags_page() -> str:
    kinds = {"Scalars": tags.SCALARS, "Pictures": tags.IMAGES, "Texts": tags.TEXTS}
    parts = [
        f"## {kind}\n\n{table(['tag', 'meaning'], [[f'`{t}`', m] for t, m in of.items()])}"
        for kind, of in kinds.items()
    ]
    return (
        """# TensorBoard tags

The x axis is the generator step. A `*` stands for a name: of a player, a penalty, a metric or a setting. TensorBoard
shows the meaning of a scalar beside its chart, and `metrics.jsonl` contains the same values.
[TensorBoard](../tensorboard.md) has pictures; [run health](../health.md) describes the `health/` values.

"""
        + "\n\n".join(parts)
        + "\n"
    )


def commands_page() -> str:
    """Returns the commands with their docstrings and options: modules of the root with a `main`, and folders."""
    parts = ["# Commands", "`python -m gan_runner` is the same as `gan-runner`, once `.venv` is activated."]
    found = {path.stem: f"gan_runner.{path.stem}" for path in PACKAGE.glob("*.py") if path.stem != "__main__"}
    found |= {path.parent.name: f"gan_runner.{path.parent.name}.__main__" for path in PACKAGE.glob("*/__main__.py")}
    for name, path in sorted(found.items(), key=lambda item: (item[0] != "main", item[0])):
        module = importlib.import_module(path)
        if hasattr(module, "main"):
            title = "gan_runner" if name == "main" else f"gan_runner.{name}"
            parts += [f"## {title}", inspect.getdoc(module) or "", options(module)]
            parts += [options(module, "RUN", verb) for verb in getattr(module, "VERBS", ())]
    return "\n\n".join(part for part in parts if part) + "\n"


def options(module: types.ModuleType, *words: str) -> str:
    """Returns the --help of a command, after these words; an empty string without options of its own."""
    if not hasattr(module, "options_of"):
        return ""
    text = io.StringIO()
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS", ""), "100"
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module.options_of([*words, "--help"])
    os.environ["COLUMNS"] = before
    return f"```text\n{text.getvalue().rstrip()}\n```"


def exit_codes_page() -> str:
    known = [each for each in classes(errors) if isinstance(getattr(each, "exit_code", None), int)]
    rows = [[0, "", "The run is completed, or was completed before."]]
    rows += [[each.exit_code, each.__name__, inspect.getdoc(each)] for each in known]  # type: ignore[attr-defined]
    rows += [[1, "", "Any other error, which is a bug: a traceback."]]
    rows += [["128 + N", errors.Stopped.__name__, inspect.getdoc(errors.Stopped)]]
    return f"""# Exit codes

{table(["code", "exception", "meaning"], sorted(rows, key=lambda row: str(row[0]).zfill(9)))}

N is the number of the signal. After the codes 3 and 128 + N the run folder has a checkpoint, and the same
command goes on.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(each) for each in line)} |" for line in lines)


def cell(content: object) -> str:
    """Escapes what Markdown would interpret, outside of code: a bar would end the cell, a star or < would vanish."""
    parts = str(content if content is not None else "").split("`")
    outside = [re.sub(r"([*<_])", r"\\\1", part) for part in parts[::2]]
    merged = [
        part for pair in zip(outside, [*(f"`{each}`" for each in parts[1::2]), ""], strict=False) for part in pair
    ]
    return " ".join("".join(merged).replace("|", "\\|").split())
