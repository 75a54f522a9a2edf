"""The user's own images: a folder or a zip archive, optionally with a folder for each class."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from gan_runner.dataset.image_files import Files, Found, Listing, files_at, kind, shown, uncollected
from gan_runner.dataset.packed import PackedDataset
from gan_runner.dataset.picture import Form, OtherSize, Unreadable, check_form, measured, sides
from gan_runner.errors import ConfigError, nearest, require
from gan_runner.noise import seed_of

SPLITS = {  # name of a folder, in lower case -> split
    **{"train": "train", "training": "train"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
    **{"test": "test", "testing": "test"},
}
PROPOSED = (256, 128, 64, 32)  # sizes that an error message may propose
LABELS = "dataset.json"  # the label file of StyleGAN's dataset tool
LOOKED_AT = 200  # images, at most, that are measured at every start to determine the size

log = logging.getLogger(__name__)


class ImageFolder(PackedDataset):
    """Every image below a folder or in a zip archive, decoded once into a file of the cache and mapped from it.

    Folders train, validation (or val, valid) and test at the top are the splits. A split without a folder gets a share
    `held_out` of the training images; an image keeps its split when other images are added. The next folders are the
    classes, if there are several and every image is in one. If a file dataset.json at the top, in the format of
    StyleGAN's dataset tool, has a label for each image, the folders are no classes. Hidden files and files without the
    suffix of an image are left out; undecodable files are named and left out, up to a share `max_broken` of all.
    """

    def __init__(
        self,
        path: str | None,
        subset: str | int | None = None,
        labels: bool = True,
        size: int | list[int] | None = None,
        fit: str = "crop",
        channels: int | None = None,
        flip: bool = False,
        held_out: float = 0.05,
        max_broken: float = 0.01,
        labels_per_class: int | None = None,
        cache_dir: str = "~/.cache/gan_runner",
    ):
        """path: a folder or a zip archive. subset: read only this folder at the top. labels: False: no classes.
        size: side in pixels, or [height, width]; None: that of the files. fit: how an image of another shape gets this
        size: crop its middle, pad it with black bars, or stretch it. channels: 1, 3, or None: as in the files.
        held_out: share of the images for validation and for test each, if there is no folder of that name.
        """
        require(bool(path), "path=null names no images; give a folder or a zip archive of them")
        require(0 <= held_out < 0.5, f"held_out={held_out} must be 0 or more and below 0.5")
        require(0 <= max_broken <= 1, f"max_broken={max_broken} is a share, from 0 to 1")
        check_form(fit, channels)
        if size is not None:
            sides(size)
        files = files_at(str(path))
        listing = files.listing()
        parts = read_parts(listing, str(path), str(subset) if subset is not None else None, held_out)
        images = [image for part in parts.values() for image in part]
        found = [image.found for image in images]
        listed = labels_of(files)
        names, numbers = classes_of(images, listed) if labels else ([], None)
        try:
            super().__init__(
                files,
                {split: [image.found for image in part] for split, part in parts.items()},
                numbers,
                form_of(files, found, size, fit, channels),
                *(cache_dir, cache_name(files), [shown(name) for name in names]),
                gray_or_rgb=channels is None,
                max_broken=max_broken,
                labels_per_class=labels_per_class,
                flip=flip,
            )
        except OtherSize:
            raise ConfigError(proposal(survey(files, found)[0])) from None
        if listed is not None:
            listing.others.subtract([kind(LABELS)])
        self.left_out += others_of(listing)


Folders = list[str]  # the folders of an image, below the folder that is read


class Placed(NamedTuple):
    """An image, its class if it has one, and its split."""

    found: Found
    folder: str | None
    split: str


def beside(listing: Listing) -> str:
    """Returns a phrase on the files that are no images."""
    kinds = [f"{count} of {kind}" for kind, count in listing.others.most_common(5)]
    return f"there are files of other kinds ({', '.join(kinds)})" if kinds else "there is no file"


def others_of(listing: Listing) -> list[str]:
    """Returns, and logs, a phrase for each kind of files that are no images by their suffix."""
    others = [f"{kind}: {count}" for kind, count in listing.others.most_common() if count]
    if others:
        log.info("not read, being no images by their suffix: %s", ", ".join(others))
    return others


def read_parts(listing: Listing, path: str, subset: str | None, held_out: float) -> dict[str, list[Placed]]:
    """Returns the images of each split. ConfigError if there is none, or none to train on."""
    if not listing.images:
        raise ConfigError(f"dataset.path={path} holds no image; {beside(listing)}. Name a folder with images.")
    parts = split_up(below(listing.images, subset, path), held_out)
    if not parts["train"]:
        raise ConfigError(
            f"dataset.held_out={held_out:g} leaves none of {len(listing.images)} images to train on; set "
            f"dataset.held_out=0, or give more images."
        )
    return parts


@uncollected()
def below(found: Sequence[Found], subset: str | None, path: str) -> list[tuple[Found, Folders]]:
    """Returns the images of `subset`, or all, with their folders. A single folder that holds everything is skipped."""
    images = [(each, each.name.split("/")[:-1]) for each in found]
    while True:
        tops = top_folders(images)
        if subset is not None and subset in tops:
            images = [(each, folders) for each, folders in images if folders and folders[0] == subset]
            subset = None
        elif len(tops) > 1 or None in tops:
            break
        elif subset is None:
            check_trainable(tops)
        for _, folders in images:
            del folders[0]
    if subset is not None:
        there = sorted(top for top in tops if top is not None)
        raise ConfigError(
            f"dataset.subset={subset} is no folder at the top of dataset.path={path}{nearest(subset, there)}; there "
            f"are: {', '.join(map(shown, there[:10])) or 'none'}."
        )
    return images


def check_trainable(tops: Iterable[str | None]) -> None:
    """ConfigError if all folders are splits and none is for training."""
    splits = {SPLITS.get((top or "").lower()) for top in tops}
    if not splits & {"train", None}:
        there = " and ".join(sorted(shown(str(top)) for top in tops))
        raise ConfigError(
            f"dataset.path has images in {there} alone, and none in train; put images there, or choose a folder to "
            f"train on, as dataset.subset={there.split(' ')[0]}."
        )


def top_folders(images: Sequence[tuple[Found, Folders]]) -> set[str | None]:
    """Returns the folders at the top, and None if some images are in no folder."""
    return {folders[0] if folders else None for _, folders in images}


@uncollected()
def split_up(images: Sequence[tuple[Found, Folders]], held_out: float) -> dict[str, list[Placed]]:
    """Splits the images. Each split is sorted by a hash of the names, so that any part of it is a random sample."""
    parts: dict[str, list[tuple[float, Placed]]] = {"train": [], "validation": [], "test": []}
    splits = {top: SPLITS.get((top or "").lower()) for top in top_folders(images)}
    known = set(splits.values()) - {None}
    if "train" in known and len(known) > 1 and None in splits.values():
        others = sorted(shown(top or "images in no folder") for top, split in splits.items() if split is None)
        raise ConfigError(
            f"dataset.path has folders for splits ({', '.join(sorted(top for top in splits if top and splits[top]))}) "
            f"beside others ({', '.join(others[:5])}); choose one with dataset.subset=, or move the others away."
        )
    if None not in splits.values():
        check_trainable(splits)
    named = "train" in known and None not in splits.values()
    absent = [split for split in ("validation", "test") if not (named and split in splits.values())]
    for found, folders in images:
        split = splits[folders.pop(0)] or "train" if named else "train"
        place = seed_of("place", *folders, found.name.rpartition("/")[2]) / 2**63
        if split == "train" and place < held_out * len(absent):
            split = absent[int(place / held_out)]
        parts[split].append((place, Placed(found, folders[0] if folders else None, split)))
    return {split: [image for _, image in sorted(part)] for split, part in parts.items() if part or split == "train"}


def class_names(images: Sequence[Placed]) -> list[str]:
    """Returns the folders of the images, 2 before 10; [] if there is only one. ConfigError if some images have none."""
    names = {image.folder for image in images if image.folder is not None}
    loose = [image.found.name for image in images if image.folder is None]
    if len(names) > 1 and loose:
        raise ConfigError(
            f"dataset.path: {len(loose)} images, as {shown(loose[0])}, lie beside the {len(names)} folders of classes; "
            f"put each in one, choose a folder with dataset.subset=, or set dataset.labels=false."
        )
    return sorted(names, key=lambda name: (natural(name), name)) if len(names) > 1 else []


Listed = Mapping[str, object] | None  # name of an image -> label; None: no image has a label


def labels_of(files: Files) -> tuple[Listed] | None:
    """Returns the labels of dataset.json in a tuple; None if the file is missing or has another format."""
    content = files.attached(LABELS)
    try:
        found = json.loads(content) if content is not None else None
    except ValueError as error:
        raise ConfigError(f"dataset.path: {LABELS} is no JSON ({error}); mend it, or move it away.") from error
    if not isinstance(found, dict) or "labels" not in found:
        return None
    if found["labels"] is None:
        return (None,)
    try:
        return (dict(found["labels"]),)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"dataset.path: `labels` of {LABELS} should be a list of [file, label]; mend it, or move it away."
        ) from error


def numbered(images: Sequence[Placed], listed: tuple[Listed]) -> tuple[list[str], list[int] | None]:
    """Returns the names of the classes and the label of each image, from dataset.json."""
    (labels,) = listed
    if labels is None:
        return [], None
    for image in images:
        label, name = labels.get(image.found.name), shown(image.found.name)
        if type(label) is not int or label < 0:
            what = "has no label" if label is None else f"has the label {json.dumps(label)[:40]}"
            raise ConfigError(
                f"dataset.path: {name} {what} in {LABELS}, and should have a whole number; mend it, or set "
                f"dataset.labels=false."
            )
    numbers = [int(str(labels[image.found.name])) for image in images]
    return [str(number) for number in range(max(numbers) + 1)], numbers


def classes_of(images: Sequence[Placed], listed: tuple[Listed] | None) -> tuple[list[str], list[int] | None]:
    """Returns the names of the classes and the label of each image, from dataset.json or else from the folders."""
    if listed is not None:
        return numbered(images, listed)
    names = class_names(images)
    return names, [names.index(str(image.folder)) for image in images] if names else None


def natural(name: str) -> list[tuple[int, str]]:
    """Returns a sort key that orders numbers within names by value."""
    parts = re.split(r"(0*[0-9]+)", name)
    return [(len(part.lstrip("0")), part.lstrip("0")) if number % 2 else (0, part) for number, part in enumerate(parts)]


def form_of(
    files: Files, found: Sequence[Found], size: int | Sequence[int] | None, fit: str, channels: int | None
) -> Form:
    """Returns the form of `size`, or that of the images. ConfigError if the measured images differ in size."""
    if size is not None:
        return Form(*sides(size), channels or 3, fit)
    sizes, broken = survey(files, found[:LOOKED_AT])
    if not sizes:
        raise ConfigError(f"dataset.path: of the first {len(broken)} files none can be read: {broken[0]} and so on.")
    if len(sizes) > 1:
        raise ConfigError(proposal(sizes))
    return Form(*sides(next(iter(sizes))), channels or 3, "exact")


def survey(files: Files, found: Sequence[Found]) -> tuple[Counter[tuple[int, int]], list[str]]:
    """Counts the images by (height, width), and lists the broken files."""
    sizes: Counter[tuple[int, int]] = Counter()
    broken = []
    for each in found:
        try:
            with files.open(each) as file:
                sizes[measured(file)] += 1
        except Unreadable as error:
            broken.append(f"{shown(each.name)} ({shown(str(error))})")
    return sizes, broken


def proposal(sizes: Counter[tuple[int, int]]) -> str:
    """Returns a sentence that proposes a size for images of several sizes."""
    shorter = sorted(side for size, count in sizes.items() for side in [min(size)] * count)
    usual = shorter[len(shorter) // 10]
    good = next((side for side in PROPOSED if side <= usual), PROPOSED[-1])
    (height, width), _ = sizes.most_common(1)[0]
    return (
        f"dataset.size=null needs images of one size, and of {len(shorter)} that were looked at {len(sizes)} differ, "
        f"{width}x{height} the most frequent, {shorter[0]} to {shorter[-1]} pixels on the shorter side; set "
        f"dataset.size={good} (or another, and dataset.fit=crop, pad or stretch)."
    )


def cache_name(files: Files) -> str:
    """Returns a readable name for the folder in the cache."""
    return re.sub(r"[^A-Za-z0-9]+", "-", PurePosixPath(files.root).stem).strip("-")[:40] or "images"
