"""The model card of a run: Markdown with the header that model hubs read, and a picture of samples beside it.

The folder may come from an untrusted source: its texts are written without markup.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gan_runner import __version__
from gan_runner.comparison.records import Record
from gan_runner.comparison.rows import shortened
from gan_runner.errors import ConfigError
from gan_runner.evaluation.sampler import Sampler
from gan_runner.export.facts import Score, data_hash, record_of, scores_of
from gan_runner.records.console import duration
from gan_runner.records.identity import PLACES, show
from gan_runner.records.weights import Weights
from gan_runner.sampling.formats import write_grid
from gan_runner.sampling.source import by_class, generated, requested_classes
from gan_runner.storage.files import write_atomically

CARD = "README.md"
PICTURE = "samples.png"
LIBRARY = "gan_runner"
SAMPLES = 64
GROUPS = ("model", "loss", "dataset", "optimizer", "augment")
IN_PROTOCOL = ("n_real", "n_fake", "n_train", "features", "features_hash", "weights", "precision")
NO_LICENCE = (
    "No licence is chosen: without one, nobody else may use the weights. `--licence mit`, or another identifier of the "
    "hub, chooses one; the licence of the training data may limit the choice."
)


class File(NamedTuple):
    """An exported file, for the card."""

    name: str
    signature: str
    example: str
    difference: float


class Facts(NamedTuple):
    """What the card reports."""

    record: Record
    weights: Weights
    sampler: Sampler
    scores: list[Score]
    files: Sequence[File]
    licence: str | None

    @property
    def drawable(self) -> bool:
        return self.weights.spec.drawable

    def choice(self, group: str) -> str:
        """Returns the choice of a group, or the class if the choice is not recorded."""
        node = self.weights.config.get(group)
        node = node.get("generator", node.get("adversarial", node)) if isinstance(node, dict) else {}
        target = node.get("_target_", "") if isinstance(node, dict) else ""
        return show(self.record.hparams.get(group, shortened(str(target))))


def write_card(
    out: Path, run: Path, weights: Weights, sampler: Sampler, files: Sequence[File], licence: str | None
) -> Path:
    """Writes README.md, which hubs show as the card, and a picture of samples; returns its path."""
    record = record_of(run)
    facts = Facts(record, weights, sampler, scores_of(record, weights.step), files, licence)
    if facts.drawable:
        labels = by_class(requested_classes(sampler, None), SAMPLES)
        count = SAMPLES if labels is None else len(labels)
        write_grid(out / PICTURE, generated(sampler, 0, count, labels), {})
    text = "\n\n".join(part for part in (header(facts), *body(facts)) if part) + "\n"
    path = out / CARD
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def is_foreign(path: Path) -> bool:
    """Whether there is a file that `write_card` has not written, and must not replace."""
    return path.is_file() and f"library_name: {LIBRARY}" not in path.read_text(encoding="utf-8", errors="replace")


def check_licence(licence: str | None) -> None:
    if licence is not None and not licence.replace("-", "").replace(".", "").isalnum():
        raise ConfigError(f"--licence={licence!r} should be an identifier such as mit, apache-2.0 or cc-by-4.0.")


def header(facts: Facts) -> str:
    """Returns the YAML front matter."""
    name = facts.weights.folder
    dataset = facts.choice("dataset")
    content: dict[str, Any] = {
        "library_name": LIBRARY,
        "license": facts.licence or "other",
        "tags": list(dict.fromkeys(("gan", *(facts.choice(group) for group in ("model", "loss", "dataset"))))),
    }
    if not facts.sampler.conditional:
        content["pipeline_tag"] = "unconditional-image-generation"
    if facts.scores:
        values = [
            {"type": score.name, "name": f"{score.name} ({score.split} split)", "value": score.value}
            for score in facts.scores
        ]
        task = {"type": "image-generation", "name": "Image generation"}
        result = {"task": task, "dataset": {"type": dataset, "name": dataset}, "metrics": values}
        content["model-index"] = [{"name": name, "results": [result]}]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---"


def body(facts: Facts) -> Iterable[str]:
    weights, spec = facts.weights, facts.weights.spec
    made = "points" if spec.value_range is None else "images"
    yield f"# {plain(weights.folder)}"
    yield (
        f"The generator of a generative adversarial network that makes {made} of {'x'.join(map(str, spec.shape))} "
        f"(channels, height, width), trained with gan_runner {__version__} to step {weights.step:,}. The weights are "
        f"the moving average over the training."
    )
    if facts.drawable:
        yield f"![Samples of the generator, not selected]({PICTURE})"
    yield from files(facts)
    yield f"## Training\n\n{table(('setting', 'value'), training(facts))}"
    yield f"## Data\n\n{table(('', 'value'), data(facts))}"
    yield f"## Scores\n\n{scores(facts)}"
    yield f"## Memorization\n\n{memorization(facts)}"
    yield f"## Health\n\n{health(facts)}"
    yield f"## Cost\n\n{table(('', 'value'), cost(facts))}"
    yield f"## Licence\n\n{plain(facts.licence) if facts.licence else NO_LICENCE}"
    settings = "\n".join(f"{key}: {show(value)}" for key, value in facts.record.settings.items() if key not in PLACES)
    yield f"## All settings that change the result\n\n{fenced(settings, 'yaml')}"


def files(facts: Facts) -> Iterable[str]:
    if not facts.files:
        return
    yield "## Files\n\n" + table(
        ("file", "largest difference from the run's network, 64 samples"),
        [(f"`{file.name}`", f"{file.difference:.2g}") for file in facts.files],
    )
    for file in facts.files:
        if file.example:
            yield f"### {file.name}\n\n{fenced(file.signature, 'text')}\n\n{fenced(file.example.rstrip(), 'python')}"
        else:
            yield f"### {file.name}\n\n{fenced(loading(file.name), 'python')}"


def loading(name: str) -> str:
    return f'import gan_runner as gr\n\nmodel = gr.load("{name}")\nmodel.sample(16, seed=0).save("images.npz")'


def training(facts: Facts) -> list[tuple[str, object]]:
    record, train = facts.record, facts.weights.config["train"]
    rows: list[tuple[str, object]] = [(group, facts.choice(group)) for group in GROUPS]
    names = ("batch_size", "ema_half_life_images")
    rows += [(f"train.{name}", show(train.get(name))) for name in names]
    return [*rows, ("steps", f"{facts.weights.step:,}"), ("seed", show(record.seed))]


def data(facts: Facts) -> list[tuple[str, object]]:
    spec = facts.weights.spec
    digest = data_hash(facts.weights)
    known = f"`{digest}`" if digest else "none: the data are drawn by a formula, or are not on this machine"
    names = ", ".join(spec.class_names[:20]) + (", ..." if len(spec.class_names) > 20 else "")
    classes = f"{spec.num_classes}: {names}" if names else spec.num_classes
    return [("dataset", facts.choice("dataset")), ("classes", classes), ("hash of the training images", known)]


def scores(facts: Facts) -> str:
    if not facts.scores:
        return f"None were taken at step {facts.weights.step}. `{evaluating(facts)} classifier_fid` takes some."
    rows = [
        (score.name, f"{score.value:.6g}", better(score), score.split, seeds(score), protocol(score))
        for score in facts.scores
    ]
    return table(("metric", "value", "better", "split", "mean ± std over seeds", "protocol"), rows)


def evaluating(facts: Facts) -> str:
    return f"python -m gan_runner.evaluate outputs/{plain(facts.weights.folder)} --metric"


def better(score: Score) -> str:
    return {"low": "lower", "high": "higher"}.get(score.better, "")


def seeds(score: Score) -> str:
    count = len(score.spread.values)
    return f"{score.spread} ({count} seeds)" if count > 1 else "one seed: the spread is not known"


def protocol(score: Score) -> str:
    return ", ".join(f"{name} {show(score.protocol[name])}" for name in IN_PROTOCOL if name in score.protocol)


def memorization(facts: Facts) -> str:
    found = [score for score in facts.scores if score.name.startswith(("memorization", "mifid", "copying"))]
    if not found:
        return (
            f"Not measured. `{evaluating(facts)} memorization` measures whether samples are copies of training images."
        )
    return table(("metric", "value", "split"), [(each.name, f"{each.value:.6g}", each.split) for each in found])


def health(facts: Facts) -> str:
    found = facts.record.verdicts()
    if not found:
        return f"No verdict stands at the end of the training (status: {plain(facts.record.status)})."
    return table(("kind", "since step", "verdict"), [(v.get("kind"), v.get("since"), v.get("sentence")) for v in found])


def cost(facts: Facts) -> list[tuple[str, object]]:
    record = facts.record
    seconds, images = record.number("seconds"), record.number("images")
    speed, memory = record.number("images_per_second"), record.number("peak_memory_mb")
    rows: list[tuple[str, object]] = []
    rows += [("training", duration(seconds))] if seconds is not None else []
    rows += [("real images shown", f"{images:,.0f}")] if images is not None else []
    rows += [("images per second", f"{speed:,.0f}")] if speed is not None else []
    rows += [("peak memory", f"{memory:,.0f} MB")] if memory is not None else []
    sizes = {player: sum(t.numel() for t in state.values()) for player, state in facts.weights.networks.items()}
    rows += [(f"numbers in the {player}", f"{size:,}") for player, size in sizes.items()]
    rows += [(name, record.environment(name)) for name in ("device", "precision", "torch", "gan_runner", "git_commit")]
    return [(name, value) for name, value in rows if value]


# ---- Markdown


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(plain(cell) for cell in line)} |" for line in lines)


def plain(text: object) -> str:
    """Returns a text in one line, in which neither HTML nor a link nor a column begins."""
    line = " ".join(str(text).split())
    return line.replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.replace('```', '` ` `')}\n```"
