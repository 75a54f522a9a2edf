"""A small view for metrics: splits and samples that a test chooses, looked at through their own pixels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gan_runner.metric.inputs import Players, Subject, View
from gan_runner.metric.pixels import Pixels
from gan_runner.metric.pools import Chunk, Extractor, Features, Pool
from gan_runner.spec import ImageSpec

Labelled = tuple[Tensor, Tensor | None]


class Named:
    """The pixels as features, and the logits that a table has for an image's first number."""

    name, digest, accuracy, cheap = "named", "none", None, True

    def __init__(self, classes: int):
        self.classes = classes

    def __call__(self, images: Tensor) -> Features:
        seen = torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), self.classes).float()
        return Features(images.flatten(1).float(), 10 * seen)


def pool(images: Tensor, labels: Tensor | None, key: str = "") -> Pool:
    return Pool(lambda number: Chunk(images, labels), len(images), key=key)


def view_of(
    splits: Mapping[str, Labelled],
    samples: Labelled,
    split: str = "test",
    extractor: Extractor | None = None,
    game: Players | None = None,
    **subject: object,
) -> View:
    """Of at most 256 images each. Labels make the subject a labelled one."""
    images, labels = splits[split]
    classes = 0 if labels is None else int(labels.max()) + 1
    spec = ImageSpec(*images.shape[1:], classes, (-1.0, 1.0) if images.dtype == torch.uint8 else None)
    looks = extractor or Pixels(spec)
    return View(
        Subject(spec, {name: len(some) for name, (some, _) in splits.items()}, labels is not None, **subject),  # type: ignore[arg-type]
        split,
        {name: pool(*some, key=name) for name, some in splits.items()},
        pool(*samples),
        lambda kind, weights: looks,
        seed=0,
        game=game,
    )
