"""Compares seven losses on MNIST with equal images and equal time, for docs/seven.md.

python docs/seven.py measure        sets the steps of each loss to what SECONDS allow; needs an idle machine
python docs/seven.py run            trains the missing runs with one thread; `run WGAN 0`: only this loss and seed
python docs/seven.py page           writes docs/seven.md, its pictures and the table of the README from the records

Budgets are in steps, so that the load of the machine does not change results. Each run is evaluated every EVERY real
images; records are in docs/results/seven.json.
"""

import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy.stats import spearmanr
from study import IMAGES, Records, trained, two_digits

import gan_runner as gr

HERE = Path(__file__).parent
PAGE, README = HERE / "seven.md", HERE.parent / "README.md"
RECORDS = Records("seven")
SAMPLES, CURVES = IMAGES / "seven.png", IMAGES / "seven_curves.png"
SEEDS = (0, 1, 2, 3, 4)
SECONDS = 240  # of training with one thread
EVERY = 16_000  # real images between two evaluations
MEASURED = 10  # seconds of training that `measure` extrapolates from
LOSSES = {  # title -> settings
    "minimax": "loss=minimax",
    "non-saturating": "loss=gan",
    "WGAN": "loss=wgan",
    "WGAN-GP": "loss=wgan_gp",
    "WGAN-div": "loss=wgan_div",
    "conditional": "loss=gan model.generator.conditioning=one_hot model.discriminator.conditioning=one_hot",
    "semi-supervised": "loss=semi_supervised dataset.labels_per_class=10",
}
COMMON = "model=dcgan model.generator.width=32 model.discriminator.width=32 dataset=mnist device=cpu train.log_every=10"
METRICS = "metric=[classifier_fid,classifier_precision_recall] metric.n_fake=5000"
VALUES = ("classifier_fid", "classifier_precision", "classifier_recall")
ESTIMATES = ("wasserstein/estimate", "divergence/w_div")  # which should fall as the samples get better
SHOWN, CELL = 12, 28  # samples of a run in the picture; pixels


class Row(NamedTuple):
    """One run of the study."""

    title: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.title}_{self.seed}"

    def command(self, *settings: str) -> list[str]:
        typed = f"{COMMON} {LOSSES[self.title]} seed={self.seed} {METRICS}".split()
        return ["python", "-m", "gan_runner", *typed, *settings, "study=seven", f"name={self.name}"]


def chosen(only: Sequence[str]) -> Iterator[Row]:
    rows = (Row(title, seed) for seed in SEEDS for title in LOSSES)
    return (row for row in rows if all(word in (row.title, str(row.seed)) for word in only))


def train(row: Row, *settings: str) -> Path:
    """Trains a run, or goes on with it, and returns its folder."""
    code = trained(row.command(*settings))
    if code:
        sys.exit(code)
    return Path("outputs") / "seven" / row.name


def measure(only: Sequence[str]) -> None:
    for row in chosen(["0", *only]):
        folder = train(row, f"train.total_seconds={MEASURED}", "metric=[]", "train.fresh=true")
        frame = gr.runs(folder).iloc[0]
        with RECORDS.changed() as kept:
            kept["steps"][row.title] = two_digits(frame["steps"] / frame["seconds"] * SECONDS)
        shutil.rmtree(folder)


def run(only: Sequence[str]) -> None:
    for row in chosen(only):
        if row.name in RECORDS.read()["runs"]:
            continue
        budget = (f"train.total_steps={RECORDS.read()['steps'][row.title]}", f"train.evaluate_every_images={EVERY}")
        folder = train(row, *budget)
        found = {"command": " ".join(row.command(*budget)), **result(folder)}
        with RECORDS.changed() as kept:
            kept["runs"][row.name] = found
        if row.seed == 0:
            show(row, folder)
        shutil.rmtree(folder)


def result(folder: Path) -> dict[str, Any]:
    """Returns the evaluations of a run, and the mean estimate since the evaluation before each."""
    frame = gr.runs(folder).iloc[0]
    curves = {name: gr.curves(folder, f"metric/{name}", "images").iloc[:, 0].dropna() for name in VALUES}
    images = [float(each) for each in curves[VALUES[0]].index]
    found = {name: [float(value) for value in curve] for name, curve in curves.items()}
    for tag in ESTIMATES:
        if tag in frame and frame[tag] == frame[tag]:
            estimate = gr.curves(folder, tag, "images").iloc[:, 0].dropna()
            starts = [0.0, *images[:-1]]
            found["estimate"] = [
                float(estimate[(estimate.index > start) & (estimate.index <= end)].mean())
                for start, end in zip(starts, images, strict=True)
            ]
    facts = {key: frame[key] for key in ("status", "hash", "device")}
    return {**facts, "steps": int(frame["steps"]), "seconds": float(frame["seconds"]), "at": images, **found}


def show(row: Row, folder: Path) -> None:
    """Pastes samples of a run into the picture of the study, a row for each loss."""
    whole = Image.open(SAMPLES) if SAMPLES.exists() else Image.new("L", (SHOWN * CELL, len(LOSSES) * CELL), 255)
    samples = gr.load(folder).sample(SHOWN).numpy()[..., 0]
    whole.paste(Image.fromarray(np.concatenate(list(samples), axis=1)), (0, list(LOSSES).index(row.title) * CELL))
    whole.save(SAMPLES, optimize=True)


# ---- the page

HEAD = """# Seven losses on MNIST

`dcgan` of width 32 with seven losses, five seeds each. All runs have the same training time: each loss gets the number
of steps that it makes in {seconds} seconds on one idle thread. The table also compares them at the same number of real
images, that of the slowest loss. The distance is `classifier_fid`: 5000 samples and the 10,000 validation images, in
features of a classifier of MNIST; precision and recall are `classifier_precision` and `classifier_recall`. Values are
means over the seeds, with their standard deviation. `docs/results/seven.json` has the command and every value. This
page is generated from that file by `python docs/seven.py page`.
"""
BEGIN, END = "<!-- table of docs/seven.py -->", "<!-- end of the table -->"  # in the README
HEADS = ("loss", "steps", "distance, equal time", "precision", "recall", "distance, equal images", "runs")


def page(only: Sequence[str]) -> None:
    for path, text in pages().items():
        path.write_text(text)
    draw(results())


def pages() -> dict[Path, str]:
    """Returns the text of docs/seven.md, and that of the README with its table."""
    runs = results()
    parts = [HEAD.format(seconds=SECONDS), *table(runs), ""]
    parts += ["![Samples: a row for each loss, in the order of the table](images/seven.png)", ""]
    parts += ["## Does the estimate fall as the samples get better?", "", *correlations(runs), ""]
    parts += ["![Distance and estimate against real images](images/seven_curves.png)"]
    before, rest = README.read_text().split(BEGIN)
    within = "\n".join([BEGIN, *table(runs), "", END])
    return {PAGE: "\n".join(parts) + "\n", README: before + within + rest.split(END)[1]}


def results() -> dict[str, list[dict[str, Any]]]:
    """Returns title -> the records of its runs."""
    found = RECORDS.read()["runs"]
    runs = {title: [found[row.name] for row in chosen([title]) if row.name in found] for title in LOSSES}
    return {title: each for title, each in runs.items() if each}


def table(runs: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield f"| {' | '.join(HEADS)} |"
    yield "|---" * len(HEADS) + "|"
    common = max(set.intersection(*(set(run["at"]) for each in runs.values() for run in each)))
    for title, each in runs.items():
        ends = [spread([run[name][-1] for run in each]) for name in VALUES]
        equal = spread([run[VALUES[0]][run["at"].index(common)] for run in each])
        yield f"| {title} | {each[0]['steps']} | {' | '.join(ends)} | {equal} | {len(each)} |"
    yield ""
    yield f"Equal images: {common:,.0f}."


def spread(values: Sequence[float]) -> str:
    deviation = f" +- {statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3g}{deviation}"


def correlations(runs: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yields a table of the rank correlation of estimate and distance over the evaluations of each run."""
    yield "Spearman's rank correlation of the estimate and the distance, over the evaluations of each run:\n"
    yield "| loss | estimate | correlation, per seed |"
    yield "|---|---|---|"
    for title, each in runs.items():
        if "estimate" in each[0]:
            numbers = [f"{spearmanr(run['estimate'], run[VALUES[0]]).statistic:.2f}" for run in each]
            tag = ESTIMATES[title == "WGAN-div"]
            yield f"| {title} | `{tag}` | {', '.join(numbers)} |"


def draw(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Draws the distance of all losses, and the estimate of each loss that has one, without its first mean.

    In the first steps the estimate can be far from all later values.
    """
    estimating = [title for title, each in runs.items() if "estimate" in each[0]]
    figure, axes = plt.subplots(1, 1 + len(estimating), figsize=(14, 3.6), layout="constrained")
    for title, color in zip(runs, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False):
        for number, run in enumerate(runs[title]):
            axes[0].plot(run["at"], run[VALUES[0]], color=color, alpha=0.7, lw=1.2, label=None if number else title)
            if title in estimating:
                axis = axes[1 + estimating.index(title)]
                axis.plot(run["at"][1:], run["estimate"][1:], color=color, alpha=0.7, lw=1.2)
    axes[0].set(xlabel="real images", title="distance (classifier_fid)", yscale="log")
    axes[0].legend(fontsize=7)
    for axis, title in zip(axes[1:], estimating, strict=True):
        axis.set(xlabel="real images", title=f"estimate, {title}")
    figure.savefig(CURVES, dpi=110)


if __name__ == "__main__":
    {"measure": measure, "run": run, "page": page}[sys.argv[1]](sys.argv[2:])
