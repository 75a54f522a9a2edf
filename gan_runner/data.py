"""Inspection of a dataset: python -m gan_runner.data dataset=... shows its content, without training.

The command shows counts by class and split, size, range, omitted files, the cache, and a grid of training images. It
composes a configuration as training does, downloads missing data, and packs images into the cache.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image
from rich.table import Table

from gan_runner.assembly.objects import make_dataset
from gan_runner.assembly.structure import check_structure
from gan_runner.cli.entry import enter_alone, through_hydra
from gan_runner.cli.places import CONF, OUTPUTS
from gan_runner.cli.request import request_of_job
from gan_runner.dataset.images import ImageDataset
from gan_runner.records.console import Terminal, table
from gan_runner.records.grid import image_grid
from gan_runner.records.identity import folder_name
from gan_runner.storage.files import storing

MAX_CLASSES = 20  # classes, at most, with a row of their own in the table
MEASURED = 10_000  # training images, at most, from which mean, deviation and range are computed
EACH = 8  # images of a class in the grid
ROWS = 10  # rows of the grid, at most


def main() -> None:
    enter_alone(job)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> None:
    with through_hydra():
        config = request_of_job(cfg).config
        typed = [each for each in HydraConfig.get().overrides.task if each.startswith("dataset")]
        terminal = Terminal()
        for content in report(config, OUTPUTS / ".datasets" / f"{folder_name(typed)}.png"):
            terminal.show(content)


def report(config: Mapping[str, Any], picture: Path) -> Iterator[str | Table]:
    check_structure(config)
    data = make_dataset(config)
    spec, train = data.spec, data.split("train")
    kept = "pixels of 8 bits" if data.images.dtype == torch.uint8 else "numbers"
    scale = f"scaled to {spec.value_range}" if spec.value_range is not None else "of any size, as they are"
    yield f"dataset   {type(data).__name__}, {len(data):,} of {'x'.join(map(str, spec.shape))}, {kept}, {scale}"
    sizes = {name: f"{size:,}" for name, size in data.splits.items()} | ({"train": "endless"} if data.endless else {})
    yield f"splits    {', '.join(f'{name} {size}' for name, size in sizes.items())}"
    yield from statistics(train)
    yield f"cache     {cache(data)}"
    yield from (f"left out  {sentence}" for sentence in data.left_out)
    if data.labels is not None:
        yield from counts(data)
    if spec.drawable:
        with storing(OUTPUTS):
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grid(train).squeeze()).save(picture)
        yield f"grid      {picture}"


def statistics(train: ImageDataset) -> Iterator[str]:
    """Yields mean and deviation of each channel, and the range, of the images as the networks receive them."""
    shown = train.decode(train.images[:MEASURED]).double()
    if not len(shown):
        return
    for name, value in (("mean", shown.mean((0, 2, 3))), ("std", shown.std((0, 2, 3), correction=0))):
        yield f"{name:<9} {', '.join(f'{number:.3f}' for number in value.tolist())}"
    yield f"range     {shown.min():.3g} to {shown.max():.3g}"


def cache(data: ImageDataset) -> str:
    """Returns a phrase: whether this command has packed the cache, its folder and its size."""
    if data.packed is None:
        return "not needed, the dataset is read as one array or made here"
    found, size = data.packed, data.packed.pixels.stat().st_size
    return f"{'packed now into' if found.fresh else 'found in'} {found.folder}, {size / 1e6:,.1f} MB"


def counts(data: ImageDataset) -> Iterator[str | Table]:
    """Yields a table of the number of images of each class in each split."""
    assert data.labels is not None
    classes = data.spec.num_classes
    columns = [torch.bincount(data.labels[data.rows(name)], minlength=classes).tolist() for name in data.splits]
    names = data.spec.class_names[:MAX_CLASSES]
    rows = [(name, *(f"{column[number]:,}" for column in columns)) for number, name in enumerate(names)]
    yield ""
    yield table(("class", *data.splits), rows, numbers=tuple(data.splits))
    if classes > MAX_CLASSES:
        ranges = ", ".join(f"{name} {min(c):,} to {max(c):,}" for name, c in zip(data.splits, columns, strict=True))
        yield f"and {classes - MAX_CLASSES} more; images of a class: {ranges}"
    yield ""


def grid(train: ImageDataset) -> Any:
    """Returns a grid of training images, one class in a row."""
    if train.labels is None:
        return image_grid(train.decode(train.images[: EACH * EACH]), train.spec)
    rows = [torch.nonzero(train.labels == k).flatten()[:EACH] for k in range(min(train.spec.num_classes, ROWS))]
    chosen = torch.cat([row for row in rows if len(row) == EACH] or rows)
    return image_grid(train.decode(train.images[chosen]), train.spec, train.labels[chosen])


if __name__ == "__main__":
    main()
