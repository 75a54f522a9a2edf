"""A check for networks that support only some sizes of square images."""

from collections.abc import Iterable

from gan_runner.errors import require
from gan_runner.spec import ImageSpec


def check_size(network: str, spec: ImageSpec, sizes: Iterable[int], words: str) -> None:
    """ValueError, with the nearest possible size, unless the images are square with a side in `sizes`."""
    possible = list(sizes)
    nearest = min(possible, key=lambda size: abs(size - min(spec.height, spec.width)))
    require(
        spec.height == spec.width and spec.height in possible,
        f"{network} makes square images of {words}, the dataset has {spec.height}x{spec.width}; set "
        f"dataset.size={nearest} where the dataset has that setting, or use model=mlp",
    )
