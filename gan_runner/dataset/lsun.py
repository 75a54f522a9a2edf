"""LSUN: scenes and objects, from the databases that the authors' script downloads."""

import hashlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from gan_runner.dataset.image_files import Found
from gan_runner.dataset.packed import PackedDataset
from gan_runner.dataset.picture import Form, sides
from gan_runner.errors import ConfigError, require


class LSUN(PackedDataset):
    """Photographs of some categories (Yu et al. 2015), cropped and resized to `size`; each category is a class.

    CATEGORY_val_lmdb is the test split. The last training images, a share `held_out`, are the validation split. The
    images are decoded once, into a file of the cache.
    """

    def __init__(
        self,
        root: str,
        categories: list[str],
        size: int | list[int] = 64,
        count: int | None = None,
        held_out: float = 0.01,
        flip: bool = False,
        labels_per_class: int | None = None,
        max_broken: float = 0.0,
        cache_dir: str = "~/.cache/gan_runner",
    ):
        """root: the folder that holds lsun/CATEGORY_train_lmdb. categories: such as church_outdoor; each is a class.

        size: side in pixels, or [height, width]. count: training images of each category; None: all.
        held_out: share of the training images for validation.
        """
        require(count is None or count >= 1, f"count={count} must be at least 1, or null for all")
        check_categories(categories)
        require(0 <= held_out < 1, f"held_out={held_out} must be 0 or more and below 1")
        form, folder = Form(*sides(size), 3, "crop"), Path(root) / "lsun"
        train = [keys(root, folder / f"{name}_train_lmdb", count) for name in categories]
        test = [keys(root, folder / f"{name}_val_lmdb", None) for name in categories]
        kept = [len(part) - int(held_out * len(part)) for part in train]
        parts = {
            "train": [part[:most] for part, most in zip(train, kept, strict=True)],
            "validation": [part[most:] for part, most in zip(train, kept, strict=True)],
            "test": test,
        }
        labels = [k for part in parts.values() for k, category in enumerate(part) for _ in category]
        several = len(categories) > 1
        super().__init__(
            Database(str(folder)),
            {split: list(itertools.chain(*part)) for split, part in parts.items()},
            labels if several else None,
            *(form, cache_dir, "-".join(["lsun", *categories])[:40], categories if several else ()),
            max_broken=max_broken,
            labels_per_class=labels_per_class,
            flip=flip,
        )


def check_categories(names: Sequence[str]) -> None:
    """ValueError unless the names are distinct and safe as names of folders; LSUN itself is not searched."""
    require(bool(names), "categories=[] names none; give one, as church_outdoor, or several")
    for name in names:
        require(name.replace("_", "").isalnum(), f"categories={name!r} is no name; give one as church_outdoor")
    require(len(set(names)) == len(names), f"categories={list(names)} has one twice")


@dataclass(frozen=True)
class Database:
    """The LMDB databases in a folder. The name of an image is DATABASE/KEY, the key in hexadecimal digits."""

    root: str

    def open(self, found: Found) -> BinaryIO:
        database, _, key = found.name.partition("/")
        with environment(f"{self.root}/{database}").begin() as transaction:
            return io.BytesIO(transaction.get(bytes.fromhex(key)))


def keys(root: str, database: Path, count: int | None) -> Sequence[Found]:
    """Returns the first `count` images of a database, or all."""
    if not (database / "data.mdb").exists():
        raise ConfigError(
            f"dataset.root={root}: LSUN needs {database}/data.mdb, which its authors' script "
            f"downloads (github.com/fyu/lsun); put it there, or name the folder that has it with dataset.root= or "
            f"GAN_RUNNER_DATA."
        )
    about = (database / "data.mdb").stat()
    stamp = hashlib.sha256(f"{about.st_size}:{about.st_mtime_ns}".encode()).hexdigest()[:8]
    with environment(str(database)).begin() as transaction:
        names = transaction.cursor().iternext(keys=True, values=False)
        return [Found(f"{database.name}/{key.hex()}", stamp) for key in itertools.islice(names, count)]


@lru_cache
def environment(path: str) -> Any:
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise ConfigError(
            "dataset: LSUN is stored in LMDB databases; install the package with pip install lmdb."
        ) from error
    return lmdb.open(path, readonly=True, lock=False, readahead=False, max_readers=1)
