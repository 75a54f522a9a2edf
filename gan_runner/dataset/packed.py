"""Base class of datasets of encoded images, which are read through the cache."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from gan_runner.dataset.cache import LISTED, Request, named_with_reason, packed
from gan_runner.dataset.image_files import Found, Source
from gan_runner.dataset.images import ImageDataset, mapped
from gan_runner.dataset.picture import Form
from gan_runner.errors import ConfigError

log = logging.getLogger(__name__)


class PackedDataset(ImageDataset):
    """Images that are decoded once into a file of the cache and mapped from it. Broken files are left out."""

    def __init__(
        self,
        source: Source,
        parts: Mapping[str, Sequence[Found]],
        labels: Sequence[int] | None,
        form: Form,
        cache_dir: str,
        cache_name: str,
        class_names: Sequence[str] = (),
        gray_or_rgb: bool = False,
        max_broken: float = 0.01,
        labels_per_class: int | None = None,
        flip: bool = False,
    ):
        """parts: the images of each split. labels: one for each image of all splits, in the same order.

        max_broken: share of the files that may be unreadable; they are named and left out.
        cache_dir: folder of the decoded images.
        """
        found = [each for part in parts.values() for each in part]
        request = Request(source, found, form, gray_or_rgb, max_broken)
        pack = packed(cache_dir, cache_name, request)
        self.left_out: list[str] = named_with_reason(request, pack.broken)
        if self.left_out:
            named = "; ".join(self.left_out[:LISTED])
            log.warning("%d of %d files cannot be read and are left out: %s", len(self.left_out), len(found), named)
        whole = np.ones(len(found), bool)
        whole[[position for position, _ in pack.broken]] = False
        ends = np.cumsum([len(part) for part in parts.values()])
        sizes = [int(part.sum()) for part in np.split(whole, ends[:-1])]
        if sizes[0] == 0:
            count = len(next(iter(parts.values())))
            raise ConfigError(f"dataset.path: none of the {count} training images can be read; put others there.")
        super().__init__(
            mapped(pack),
            torch.from_numpy(np.array(labels)[whole]) if labels is not None else None,
            dict(zip(parts, sizes, strict=True)),
            tuple(class_names),
            *(labels_per_class, flip, pack),
        )
