"""Trains every stock loss with two networks on two datasets, with default settings and equal computing time.

python docs/defaults.py measure    sets the steps of each loss to what its cell's seconds allow; needs an idle machine
python docs/defaults.py run        trains the missing runs with one thread; `run mlp_mnist 0`: only one cell and seed
python docs/defaults.py helped     trains runs that fail by default, with settings that help
python docs/defaults.py page       writes docs/defaults.md from the records

A cell is one network on one dataset. Budgets and results are stored in docs/results/defaults.json, eight samples of
each run in docs/images/defaults_MODEL_DATASET.png. Budgets are in steps, so that the load of the machine does not
change results.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from study import IMAGES, Records, trained, two_digits

from gan_runner.cli.places import choices_of
from gan_runner.records.folder import RunFolder

PAGE = Path(__file__).parent / "defaults.md"
RECORDS = Records("defaults")
LOSSES = choices_of("loss")
SEEDS = (0, 1, 2)
SECONDS = {  # of training with one thread, for each run of a cell
    ("mlp", "digits"): 20,
    ("mlp", "mnist"): 60,
    ("dcgan", "digits"): 30,
    ("dcgan", "mnist"): 180,
}
MEASURED = 5  # seconds of training that `measure` extrapolates from
HELPS = {  # model, dataset, loss -> why a run fails by default, and settings with which it does not
    ("mlp", "digits", "began"): (
        "the balance moves by 0.001 a step, and an autoencoder with a code as large as the image copies any image",
        "optimizer.lr=5e-4 loss.adversarial.rate=0.01 loss.adversarial.gamma=0.7 model.discriminator.widths=[64,32] "
        "train.total_steps=4000",
    ),
    ("mlp", "mnist", "began"): (
        "as on digits",
        "optimizer.lr=5e-4 loss.adversarial.rate=0.01 loss.adversarial.gamma=0.7 model.discriminator.widths=[256,64] "
        "train.total_steps=6000",
    ),
    ("mlp", "mnist", "dragan"): ("its learning rate is 1e-4; it needs more steps", "train.total_steps=6000"),
    ("mlp", "mnist", "roth"): ("the penalty is large at first; it needs more steps", "train.total_steps=5000"),
    ("mlp", "mnist", "wgan"): (
        "its learning rate of 5e-5 is made for long trainings",
        "optimizer.lr=5e-4 train.total_steps=1500",
    ),
    ("mlp", "mnist", "lsgan"): ("the discriminator is ahead at first; it needs more steps", "train.total_steps=4000"),
    **{
        ("mlp", "mnist", loss): ("five discriminator updates per step; it needs more steps", "train.total_steps=2000")
        for loss in ("wgan_gp", "wgan_lp")
    },
    ("mlp", "mnist", "zero_gp"): (
        "the penalty, of weight 10, slows the discriminator",
        "loss.penalties.gradient.weight=1",
    ),
    ("dcgan", "digits", "wgan"): ("its learning rate is 5e-5; it needs more steps", "train.total_steps=2000"),
    **{
        ("dcgan", "digits", loss): (
            "five discriminator updates per step; it needs more steps",
            "train.total_steps=1500",
        )
        for loss in ("wgan_gp", "wgan_lp", "acgan_wgan_gp")
    },
    ("dcgan", "mnist", "began"): (
        "as with `mlp`",
        "optimizer.lr=5e-4 loss.adversarial.rate=0.01 loss.adversarial.gamma=0.7 model.discriminator.width=8 "
        "train.total_steps=2500",
    ),
    ("dcgan", "mnist", "minimax"): (
        "its gradient vanishes while the discriminator is ahead; a slower discriminator",
        "optimizer.discriminator.lr=1e-4",
    ),
    ("dcgan", "mnist", "wgan"): ("its learning rate of 5e-5 is made for long trainings", "optimizer.lr=2e-4"),
    ("dcgan", "mnist", "wgan_div"): ("five discriminator updates per step; a higher rate", "optimizer.lr=5e-4"),
    ("dcgan", "mnist", "roth"): ("the penalty is large at first; it needs more steps", "train.total_steps=1500"),
    ("dcgan", "mnist", "zero_gp"): (
        "the penalty, of weight 10, slows the discriminator",
        "loss.penalties.gradient.weight=1",
    ),
    **{
        ("dcgan", "mnist", loss): ("its learning rate of 1e-4 is made for long trainings", "optimizer.lr=5e-4")
        for loss in ("dragan", "wgan_gp", "wgan_lp", "acgan_wgan_gp")
    },
    ("dcgan", "digits", "dragan"): (
        "without batch norm, the small first weights of DCGAN's discriminator learn slowly at a rate of 1e-4",
        "optimizer.discriminator.lr=1e-3",
    ),
    ("dcgan", "digits", "began"): (
        "the balance moves by 0.001 a step, and the learning rate of 1e-4 is slow without batch norm",
        "optimizer.lr=5e-4 loss.adversarial.rate=0.01 loss.adversarial.gamma=0.7 train.total_steps=2000",
    ),
}
METRICS = ("metric=[classifier_fid,classifier_precision_recall,modes]", "metric.n_fake=2000")
FEW_CLASSES, FEW_REAL, LITTLE_SPREAD = 5, 0.2, 1 / 3  # limits of classes, precision and spread below which a run failed
SHOWN, CELL, MARGIN, LINE = 8, 32, 160, 34  # samples of a run; sizes in pixels


class Row(NamedTuple):
    """One run of the table."""

    model: str
    dataset: str
    loss: str
    seed: int

    @property
    def cell(self) -> str:
        return f"{self.model}_{self.dataset}"

    @property
    def name(self) -> str:
        return f"{self.cell}_{self.loss}_{self.seed}"

    @property
    def budget(self) -> str:
        return f"{self.cell}_{self.loss}"

    @property
    def helped(self) -> str:
        return f"{self.name}_helped"

    def seeds(self) -> Iterator["Row"]:
        return (self._replace(seed=seed) for seed in SEEDS)

    def command(self, *settings: str) -> list[str]:
        choices = (f"model={self.model}", f"dataset={self.dataset}", f"loss={self.loss}", f"seed={self.seed}")
        return ["python", "-m", "gan_runner", *choices, "device=cpu", *settings, "study=defaults", f"name={self.name}"]


def rows() -> Iterator[Row]:
    for seed in SEEDS:
        for model, dataset in SECONDS:
            for loss in LOSSES:
                yield Row(model, dataset, loss, seed)


def chosen(only: list[str]) -> Iterator[Row]:
    return (row for row in rows() if all(word in (row.cell, str(row.seed), row.loss) for word in only))


def measure(only: list[str]) -> None:
    for row in chosen(["0", *only]):
        if row.budget in RECORDS.read()["steps"]:
            continue
        folder, _ = train(row, f"train.total_seconds={MEASURED}", "train.sample_every=1000000")
        summary = folder.read_summary()
        steps = summary["steps"] / summary["seconds"] * SECONDS[row.model, row.dataset]
        with RECORDS.changed() as kept:
            kept["steps"][row.budget] = two_digits(steps)
        shutil.rmtree(folder.path)


def run(only: list[str]) -> None:
    for row in chosen(only):
        if row.name in RECORDS.read()["runs"]:
            continue
        folder, found = recorded(row, f"train.total_steps={RECORDS.read()['steps'][row.budget]}")
        with RECORDS.changed() as kept:
            kept["runs"][row.name] = found
            show(row, sorted((folder.path / "samples").glob("step-*.png")))
        shutil.rmtree(folder.path, ignore_errors=True)


def failing(found: dict[str, Any], row: Row) -> bool:
    """Whether the row is the first seed that fails by default."""
    runs = found["runs"]
    return row == next((each for each in row.seeds() if outcome(runs[each.name]) != "digits"), None)


def helped(only: list[str]) -> None:
    for row in chosen(only):
        records = RECORDS.read()
        if not failing(records, row) or row.helped in records["runs"]:
            continue
        _, settings = HELPS[row.model, row.dataset, row.loss]
        budget = () if "train.total_steps" in settings else (f"train.total_steps={records['steps'][row.budget]}",)
        folder, found = recorded(row, *budget, *settings.split())
        with RECORDS.changed() as kept:
            kept["runs"][row.helped] = found
        shutil.rmtree(folder.path, ignore_errors=True)


def recorded(row: Row, *settings: str) -> tuple[RunFolder, dict[str, Any]]:
    """The folder of the run, and its record."""
    words = (*settings, *METRICS)
    folder, code = train(row, *words)
    found = {"command": " ".join(row.command(*words)), "exit": code, **results(folder.read_summary())}
    sys.stdout.write(f"{row.name}: {found['status']}, {found['steps']} steps, {found['verdicts']}\n")
    sys.stdout.flush()
    return folder, found


def train(row: Row, *settings: str) -> tuple[RunFolder, int]:
    """The folder of the run, and its exit code."""
    code = trained([*row.command(*settings), "train.fresh=true"], quiet=True)
    return RunFolder(Path("outputs") / "defaults" / row.name), code


def results(summary: dict[str, Any]) -> dict[str, Any]:
    last, scores = summary.get("last", {}), summary.get("metrics", {}).get("last", {}).get("test", {})
    return {
        **{key: summary.get(key) for key in ("status", "steps", "images", "seconds", "config_hash")},
        "processor": summary.get("environment", {}).get("device"),
        "scores": scores,
        "health": {key.removeprefix("health/"): value for key, value in last.items() if key.startswith("health/")},
        "verdicts": [verdict["name"] for verdict in summary.get("verdicts", [])],
    }


def show(row: Row, pictures: list[Path]) -> None:
    """Pastes the first samples of a run into the picture of its cell: a row for each loss, a block for each seed."""
    path = IMAGES / f"defaults_{row.cell}.png"
    width = MARGIN + len(SEEDS) * (SHOWN * CELL + 8)
    picture = Image.open(path) if path.exists() else Image.new("L", (width, LINE * len(LOSSES)), 255)
    label(picture)
    if pictures:
        grid = np.asarray(Image.open(pictures[-1]).convert("L"))
        side = next(size for size in (64, 56, 32, 28) if (grid.shape[0] + 1) % (size + 1) == 0)
        images = [grid[top : top + side, left : left + side] for top, left in places(grid, side)]
        for number, image in enumerate(images[:: max(1, len(images) // SHOWN)][:SHOWN]):
            left = MARGIN + SEEDS.index(row.seed) * (SHOWN * CELL + 8) + number * CELL
            shown = Image.fromarray(image).reduce(2 if side > CELL else 1)
            picture.paste(shown, (left, LINE * LOSSES.index(row.loss)))
    picture.save(path, optimize=True)


def places(grid: np.ndarray, side: int) -> Iterator[tuple[int, int]]:
    """Yields top and left of each sample in the grid. The left margin of the grid may hold class names."""
    columns = (grid.shape[1] + 1) // (side + 1)
    first = grid.shape[1] - columns * (side + 1) + 1
    for top in range(0, grid.shape[0], side + 1):
        for column in range(columns):
            yield top, first + column * (side + 1)


def label(picture: Image.Image) -> None:
    """Writes the names of the losses into the left margin."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    draw.rectangle((0, 0, MARGIN - 1, picture.height), fill=255)
    for number, loss in enumerate(LOSSES):
        draw.text((4, number * LINE + CELL // 2), loss, fill=0, font=font, anchor="lm")


# ---- the page

HEAD = """# Results with default settings

Every stock loss with `mlp` and `dcgan` on `digits` and `mnist`, with default settings. All runs of a table have the
same computing time: each loss gets the number of steps that it makes in that time on one idle thread. The table of
`dcgan` on `mnist` was measured on a processor with AVX-512, the others on an older one without it, three times as slow.
`docs/results/defaults.json` has the command of every run. This page is generated from that file by
`python docs/defaults.py page`. To train the missing runs of one seed of a table:

```bash
python docs/defaults.py run mlp_digits 0
```

The outcome of a run is one of:

- *digits*: samples of at least {few} classes, and `classifier_precision` of at least {real:.0%}
- *collapse*: a collapse alarm of the run, or fewer classes and less than {spread:.0%} of the spread of real images
- *noise*: any other

A class counts if the dataset's classifier assigns it at least a quarter of its fair share of 2000 samples. The
distance is `classifier_fid`.

The budgets are shorter than a default run. `python -m gan_runner dataset=mnist seed=2`, with its 5000 steps, has 10
classes and a distance of 270; seed 3 has 8 classes and 273, seed 4 has 10 and 266.
"""


def write_page(only: list[str]) -> None:
    PAGE.write_text(page())


def page() -> str:
    found = RECORDS.read()
    parts = [HEAD.format(few=FEW_CLASSES, real=FEW_REAL, spread=LITTLE_SPREAD)]
    for model, dataset in SECONDS:
        parts += section(found, model, dataset)
    return "\n".join(parts) + "\n"


def section(found: dict[str, Any], model: str, dataset: str) -> Iterator[str]:
    cell = [row for row in rows() if (row.model, row.dataset) == (model, dataset)]
    done = [row for row in cell if row.name in found["runs"]]
    yield f"## model={model} dataset={dataset}\n"
    yield f"{SECONDS[model, dataset]} seconds per run; {len(done)} of {len(cell)} runs exist.\n"
    if not done:
        return
    caption = "Eight samples of each run: a row for each loss, a block for each seed"
    yield f"![{caption}](images/defaults_{model}_{dataset}.png)\n"
    yield "| loss | steps | seeds | outcome | classes | near-duplicates | distance | alarms |"
    yield "|---|---|---|---|---|---|---|---|"
    for loss in LOSSES:
        runs = [found["runs"][row.name] for row in done if row.loss == loss]
        if runs:
            columns = zip(*(cells(each) for each in runs), strict=True)
            steps = found["steps"][f"{model}_{dataset}_{loss}"]
            yield f"| `{loss}` | {steps} | {len(runs)} | {' | '.join(', '.join(column) for column in columns)} |"
    yield ""
    yield from what_helps(found, cell)


def what_helps(found: dict[str, Any], cell: list[Row]) -> Iterator[str]:
    done = [row for row in sorted(cell, key=lambda row: row.loss) if row.helped in found["runs"]]
    if not done:
        return
    yield "What helps, with the first seed that fails:\n"
    yield "| loss | seed | why it fails | settings | steps | outcome | classes | near-duplicates | distance | alarms |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in done:
        why, settings = HELPS[row.model, row.dataset, row.loss]
        run = found["runs"][row.helped]
        yield f"| `{row.loss}` | {row.seed} | {why} | `{settings}` | {run['steps']} | {' | '.join(cells(run))} |"
    yield ""


def cells(found: dict[str, Any]) -> tuple[str, ...]:
    """Returns outcome, classes, near-duplicates, distance and alarms of one run."""
    scores = found["scores"]
    duplicates = found["health"].get("near_duplicates", 0.0)
    distance = scores["classifier_fid"]
    shown = "-" if distance is None else f"{distance:.0f}"
    return outcome(found), f"{scores['modes']:.0f}", f"{duplicates:.0%}", shown, " ".join(found["verdicts"]) or "-"


def outcome(found: dict[str, Any]) -> str:
    scores, few = found["scores"], found["scores"]["modes"] < FEW_CLASSES
    if found["status"] != "completed":
        return str(found["status"])
    if "collapse" in found["verdicts"] or (few and found["health"]["sample_std_ratio"] < LITTLE_SPREAD):
        return "collapse"
    return "noise" if few or scores["classifier_precision"] < FEW_REAL else "digits"


if __name__ == "__main__":
    {"measure": measure, "run": run, "helped": helped, "page": write_page}[sys.argv[1]](sys.argv[2:])
