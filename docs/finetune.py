"""Measures the start from weights on 500 images of something else, for docs/weights.md.

python docs/finetune.py run DATA     trains the missing runs with one thread; DATA: a folder with MNIST and the zip of
                                     CIFAR-10 images; `run DATA digit 0`: only this set and seed
python docs/finetune.py page         writes the table and the picture of docs/weights.md from the records

A generator and a discriminator of nine digits start on 500 nines, and on 500 colour images of automobiles. All rows of
a set have the same number of steps. The distance is that of 5000 samples to images that training has not seen, in the
features of a classifier of all ten classes.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from study import IMAGES, Records, trained

import gan_runner as gr
from gan_runner.assembly.objects import make_dataset
from gan_runner.dataset.images import ImageDataset
from gan_runner.metric.cache import Cache
from gan_runner.metric.classifier import Classifier
from gan_runner.metric.frechet import frechet_distance, moments
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.precision_recall import precision_recall

RECORDS = Records("finetune")
PICTURE = IMAGES / "finetune.png"
PAGE = Path(__file__).parent / "weights.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
WORK = Path("outputs") / "finetune"
SEEDS = (0, 1, 2)
SIDE, FEW, SAMPLES, SHOWN = 28, 500, 5000, 10
TENTH, OTHER = 9, "automobile"  # the classes that are learned from few images
COMMON = [
    "model=dcgan",
    "model.generator.width=32",
    "model.discriminator.width=32",
    "dataset=arrays",
    "device=cpu",
    "metric=[]",
]
STEPS = {"source": 3000, "digit": 500, "automobile": 1000}
WAYS = {  # row -> settings
    "from nothing": (),
    "from weights": ("train.from_weights={source}",),
    "from weights, lowest block of D frozen": ("train.from_weights={source}", "train.freeze.discriminator=1"),
    "from weights, two blocks of D frozen": ("train.from_weights={source}", "train.freeze.discriminator=2"),
}


class Row(NamedTuple):
    few: str  # digit or automobile
    way: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.few}_{list(WAYS).index(self.way)}_{self.seed}"

    @property
    def settings(self) -> list[str]:
        chosen = [each.format(source=WORK / f"source_{self.seed}") for each in WAYS[self.way]]
        return [f"dataset.path={WORK}/{self.few}.npz", *chosen]


def command(name: str, seed: int, steps: int, *settings: str) -> list[str]:
    typed = (*COMMON, *settings, f"seed={seed}", f"train.total_steps={steps}", "study=finetune", f"name={name}")
    return ["python", "-m", "gan_runner", *typed]


def run(arguments: Sequence[str]) -> None:
    data, only = Path(arguments[0]), arguments[1:]
    prepare(data)
    for row in (Row(few, way, seed) for seed in SEEDS for few in ("digit", OTHER) for way in WAYS):
        if row.name in RECORDS.read()["runs"] or not all(word in (row.few, str(row.seed)) for word in only):
            continue
        source = f"source_{row.seed}"
        trained(command(source, row.seed, STEPS["source"], f"dataset.path={WORK}/nine.npz"), quiet=True)
        typed = command(row.name, row.seed, STEPS[row.few], *row.settings)
        trained(typed, quiet=True)
        found = {"command": " ".join(typed), **measured(row, everything(data, row.few))}
        with RECORDS.changed() as kept:
            kept["runs"][row.name] = found
        sys.stdout.write(f"{row.name}: {found}\n")


# ---- data


def prepare(data: Path) -> None:
    """Writes the arrays that the runs train on."""
    WORK.mkdir(parents=True, exist_ok=True)
    if (WORK / f"{OTHER}.npz").exists():
        return
    digits, pictures = everything(data, "digit"), everything(data, OTHER)
    images, labels = digits.split("train").images, digits.split("train").labels
    assert labels is not None  # both sets have classes
    save("nine", images[labels != TENTH])
    save("digit", images[labels == TENTH][:FEW])
    train = pictures.split("train")
    assert train.labels is not None
    save(OTHER, train.images[train.labels == train.spec.class_names.index(OTHER)][:FEW])


def save(name: str, images: torch.Tensor) -> None:
    np.savez(WORK / f"{name}.npz", allow_pickle=False, images=images.permute(0, 2, 3, 1).numpy())


def everything(data: Path, few: str) -> ImageDataset:
    """Returns the labelled images of all ten classes."""
    typed = {
        "digit": ("dataset=mnist", f"dataset.root={data}"),
        OTHER: ("dataset=image_folder", f"dataset.path={data}/cifar10-jpeg.zip", f"dataset.size={SIDE}"),
    }
    return make_dataset(gr.compose(*typed[few]))


# ---- measurements


def measured(row: Row, data: ImageDataset) -> dict[str, Any]:
    """Returns the distance, precision and recall against unseen images, and the distance to the training images."""
    classifier = Classifier(data.split("train"), data.split("test"), Cache("~/.cache/gan_runner"), torch.device("cpu"))
    number = TENTH if row.few == "digit" else data.spec.class_names.index(OTHER)
    train, test = data.split("train"), data.split("test")
    assert train.labels is not None
    assert test.labels is not None
    unseen = torch.cat([train.images[train.labels == number][FEW:], test.images[test.labels == number]])
    shown = train.images[train.labels == number][:FEW]
    path = WORK / row.name
    samples = torch.from_numpy(gr.load(path).sample(SAMPLES, seed=1).numpy()).permute(0, 3, 1, 2).contiguous()
    real, fake, seen = (features(classifier, images) for images in (unseen, samples, shown))
    few = slice(min(len(unseen), SAMPLES))
    found = precision_recall(real[few], fake[few])
    show(row, samples)
    return {
        "distance": frechet_distance(moments(real), moments(fake)),
        "precision": found.precision,
        "recall": found.recall,
        "distance_to_500": frechet_distance(moments(seen), moments(fake)),
        "copies": float((nearest(fake, seen).distances < nearest(real, seen).distances.quantile(0.01)).double().mean()),
        "seconds": float(gr.runs(path).iloc[0]["seconds"]),
        "unseen": len(unseen),
    }


def features(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([classifier(part).vectors for part in images.split(1000)])


def show(row: Row, samples: torch.Tensor) -> None:
    """Pastes ten samples of seed 0 into the picture: a row for each way, a block for each set."""
    if row.seed:
        return
    height, width = len(WAYS) * SIDE, 2 * SHOWN * SIDE + 8
    whole = Image.open(PICTURE) if PICTURE.exists() else Image.new("RGB", (width, height), "white")
    images = samples[:SHOWN].expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    left = 0 if row.few == "digit" else SHOWN * SIDE + 8
    whole.paste(Image.fromarray(np.concatenate(list(images), axis=1)), (left, list(WAYS).index(row.way) * SIDE))
    whole.save(PICTURE, optimize=True)


# ---- the page


def page(arguments: Sequence[str]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    PAGE.write_text("".join([before, BEGIN, "\n".join(table()), "\n", end, after]))


def table() -> Iterator[str]:
    runs = RECORDS.read()["runs"]
    yield "| images | start | distance | precision | recall | seeds |"
    yield "|---|---|---|---|---|---|"
    for few, title in (("digit", "500 nines"), (OTHER, "500 automobiles")):
        for way in WAYS:
            found = [runs[name] for seed in SEEDS if (name := Row(few, way, seed).name) in runs]
            if found:
                cells = [spread([each[key] for each in found]) for key in ("distance", "precision", "recall")]
                yield f"| {title}, {STEPS[few]} steps | {way} | {' | '.join(cells)} | {len(found)} |"


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3g}{deviation}"


if __name__ == "__main__":
    {"run": run, "page": page}[sys.argv[1]](sys.argv[2:])
