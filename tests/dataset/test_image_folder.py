"""Folders and archives of images as users have them: each loads as documented or is refused in one sentence."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from gan_runner.dataset.image_folder import ImageFolder, natural
from gan_runner.errors import ConfigError
from tests.dataset.pictures import encoded, huge_png, pixels, write_folder, write_zip

PNG = encoded(pixels(0))
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., ImageFolder]:
    """The dataset in a folder, with a cache beside it."""

    def load(path: Path, **settings: Any) -> ImageFolder:
        return ImageFolder(str(path), cache_dir=str(tmp_path / "cache"), **{"held_out": 0.0, **settings})

    return load


def one(data: ImageFolder) -> np.ndarray:
    """The only image, (H, W, C)."""
    assert len(data) == 1
    return data.images[0].permute(1, 2, 0).numpy()


def turned(image: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "PNG", exif=exif)


def two_colours() -> Image.Image:
    """4x2: red on the left, blue on the right."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (2, 0, 4, 2))
    return image


def palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return encoded(image)


def frames() -> bytes:
    first, second = (Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE))
    return encoded(first, "GIF", save_all=True, append_images=[second])


def with_text(size: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * size, zip=True)
    return encoded(pixels(0), "PNG", pnginfo=text)


SIXTEEN = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
RGB_PIXELS = pixels(1)

# What one file of a name and content is read as: (H, W, C) exactly, or None where only the shape is known.
SINGLE = {
    "PNG": ("a.png", encoded(RGB_PIXELS), RGB_PIXELS),
    "BMP": ("a.bmp", encoded(RGB_PIXELS, "BMP"), RGB_PIXELS),
    "TIFF": ("a.tif", encoded(RGB_PIXELS, "TIFF"), RGB_PIXELS),
    "TIFF with a long suffix": ("a.tiff", encoded(RGB_PIXELS, "TIFF", compression="tiff_lzw"), RGB_PIXELS),
    "lossless WebP": ("a.webp", encoded(RGB_PIXELS, "WEBP", lossless=True), RGB_PIXELS),
    "JPEG": ("a.jpg", encoded(Image.new("RGB", (8, 8), (99, 99, 99)), "JPEG"), np.full((8, 8, 3), 99)),
    "the first frame of a GIF": ("a.gif", frames(), np.full((2, 2, 3), RED)),
    "an upper-case suffix": ("A.PNG", encoded(RGB_PIXELS), RGB_PIXELS),
    "a PNG that is called JPEG": ("a.jpeg", encoded(RGB_PIXELS), RGB_PIXELS),
    "a name in another script": ("写真 фото 🎨.png", encoded(RGB_PIXELS), RGB_PIXELS),
    "a name with a line break": ("a\nb.png", encoded(RGB_PIXELS), RGB_PIXELS),
    "a name with blanks and quotes": ('it\'s "a" b.png', encoded(RGB_PIXELS), RGB_PIXELS),
    "deep below": ("a/b/c/d/e.png", encoded(RGB_PIXELS), RGB_PIXELS),
    "gray": ("a.png", encoded(RGB_PIXELS[..., 0]), RGB_PIXELS[..., :1]),
    "black and white": ("a.png", encoded(Image.new("1", (2, 2), 1)), np.full((2, 2, 1), 255)),
    "16 bits": ("a.png", encoded(SIXTEEN), np.array([[[0], [100], [255]]])),
    "16 bits in a TIFF": ("a.tif", encoded(SIXTEEN, "TIFF"), np.array([[[0], [100], [255]]])),
    "a palette": ("a.png", palette(), np.array([[RED, BLUE]])),
    "half transparent red on white": (
        "a.png",
        encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 128))),
        [[(255, 127, 127)]],
    ),
    "transparent gray on white": ("a.png", encoded(Image.new("LA", (1, 1), (7, 0))), [[(255,)]]),
    "CMYK": ("a.jpg", encoded(Image.new("CMYK", (8, 8)), "JPEG"), np.full((8, 8, 3), 255)),
    "turned by its EXIF": ("a.png", turned(two_colours(), 6), [[RED, RED], [RED, RED], [BLUE, BLUE], [BLUE, BLUE]]),
    "mirrored by its EXIF": ("a.png", turned(two_colours(), 2), [[BLUE, BLUE, RED, RED]] * 2),
    "one pixel": ("a.png", encoded(Image.new("RGB", (1, 1), RED)), [[RED]]),
}


@pytest.mark.parametrize("archived", [False, True], ids=["in a folder", "in a zip"])
@pytest.mark.parametrize(("name", "content", "expected"), SINGLE.values(), ids=SINGLE)
def test_a_file_is_read_as_documented(tmp_path: Path, load, name: str, content: bytes, expected, archived: bool):
    files = {name: content}
    data = load(write_zip(tmp_path / "a.zip", files) if archived else write_folder(tmp_path / "a", files))
    assert one(data).tolist() == np.array(expected).tolist()


BROKEN = {
    "empty": b"",
    "cut short": PNG[: len(PNG) // 2],
    "a JPEG cut short": encoded(pixels(0, 64, 64), "JPEG")[:900],
    "text": b"<html>not found</html>",
    "an image of gigabytes": huge_png(30_000, 30_000),
    "more pixels than a file could hold": huge_png(2**31 - 1, 2**31 - 1),
    "metadata that unpack to megabytes": with_text(80_000_000),
    "PostScript, which would run programs": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
    "numbers without a range": encoded(Image.new("F", (8, 8)), "TIFF"),
    "a damaged checksum": PNG[:50] + bytes([PNG[50] ^ 255]) + PNG[51:],
}


@pytest.mark.parametrize("archived", [False, True], ids=["in a folder", "in a zip"])
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_and_left_out_or_refused(tmp_path: Path, load, content: bytes, archived: bool):
    files = {"bad.png": content, "good.png": PNG}
    path = write_zip(tmp_path / "a.zip", files) if archived else write_folder(tmp_path / "a", files)
    data = load(path, size=8, max_broken=0.5)
    assert np.array_equal(one(data), pixels(0))
    assert len(data.left_out) == 1
    assert data.left_out[0].startswith("bad.png (")
    with pytest.raises(ConfigError, match=r"^dataset.max_broken=0.01 allows 0 of 2 .*: bad.png \(.*raise it") as caught:
        load(path, size=8)
    assert "\n" not in str(caught.value)


def test_a_broken_file_takes_neither_the_class_nor_the_split_of_another(tmp_path: Path, load):
    """Each class has its own grey value; one image of each class is broken in both splits."""
    greys = {"ape": 40, "bee": 120, "cow": 200}
    files = {
        f"{split}/{name}/{n}.png": b"" if n == 2 else encoded(np.full((8, 8, 3), grey, np.uint8))
        for split, count in (("train", 6), ("test", 4))
        for name, grey in greys.items()
        for n in range(count)
    }
    data = load(write_folder(tmp_path / "a", files), max_broken=0.5)
    assert data.splits == {"train": 15, "test": 9}
    assert [greys[name] for name in data.spec.names(data.labels)] == data.images[:, 0, 0, 0].tolist()


def broken_inside(tmp_path: Path) -> Path:
    """An archive one of whose files does not match its checksum."""
    path = write_zip(tmp_path / "a.zip", {"bad.bmp": encoded(pixels(3), "BMP"), "good.png": PNG}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[120] ^= 255
    path.write_bytes(content)
    return path


def lying_size(tmp_path: Path) -> Path:
    """An archive whose directory gives a size of 60 bytes for a file of 100 MB."""
    bomb = bytes(100_000_000)
    path = write_zip(tmp_path / "a.zip", {"bad.bmp": bomb, "good.png": PNG})
    content = path.read_bytes()
    path.write_bytes(content.replace(len(bomb).to_bytes(4, "little"), (60).to_bytes(4, "little")))
    return path


def said_to_be_huge(tmp_path: Path) -> Path:
    """An archive whose directory gives a size of 2 GB for a file."""
    path = write_zip(tmp_path / "a.zip", {"bad.bmp": bytes(1234), "good.png": PNG})
    content = path.read_bytes()
    path.write_bytes(content.replace((1234).to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little")))
    return path


@pytest.mark.parametrize("archive", [broken_inside, lying_size, said_to_be_huge])
def test_a_file_that_is_not_what_its_archive_says_is_left_out(tmp_path: Path, load, archive: Callable[[Path], Path]):
    data = load(archive(tmp_path), size=8, max_broken=0.5)
    assert np.array_equal(one(data), pixels(0))
    assert data.left_out[0].startswith("bad.bmp (")


def encrypted(tmp_path: Path) -> Path:
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def linked(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return path


def cut_short(tmp_path: Path) -> Path:
    path = write_zip(tmp_path / "a.zip", {f"{n}.png": PNG for n in range(20)})
    path.write_bytes(path.read_bytes()[:-3000] + path.read_bytes()[-22:])
    return path


def twice(tmp_path: Path) -> Path:
    path = write_zip(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"a.png"))
    return path


def link_that_leaves(tmp_path: Path) -> Path:
    write_folder(tmp_path / "elsewhere", {"secret.png": PNG})
    root = write_folder(tmp_path / "a", {"a.png": PNG})
    (root / "b.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    return root


def folder_link_that_leaves(tmp_path: Path) -> Path:
    write_folder(tmp_path / "elsewhere", {"secret.png": PNG})
    root = write_folder(tmp_path / "a", {"a.png": PNG})
    (root / "b").symlink_to(tmp_path / "elsewhere")
    return root


REFUSED = {
    "nothing there": (lambda tmp: tmp / "absent", "does not exist"),
    "an empty folder": (lambda tmp: write_folder(tmp / "a", {".keep": b""}), "holds no image; there is no file"),
    "only text": (lambda tmp: write_folder(tmp / "a", {"a.txt": b"x", "b.txt": b"y"}), r"\(2 of .txt\)"),
    "a file that is no archive": (
        lambda tmp: write_folder(tmp, {"a.tar": b"x"}) / "a.tar",
        "neither a folder nor a zip",
    ),
    "an empty archive": (lambda tmp: write_zip(tmp / "a.zip", {}), "holds no image"),
    "an absolute name": (lambda tmp: write_zip(tmp / "a.zip", {"/etc/a.png": PNG}), "'/etc/a.png' leads out"),
    "a name with ..": (lambda tmp: write_zip(tmp / "a.zip", {"a/../../b.png": PNG}), r"'a/../../b.png' leads out"),
    "a name with .. and backslashes": (lambda tmp: write_zip(tmp / "a.zip", {"..\\b.png": PNG}), "leads out"),
    "a drive": (lambda tmp: write_zip(tmp / "a.zip", {"C:\\b.png": PNG}), "leads out"),
    "an encrypted archive": (encrypted, "'a.png' is encrypted"),
    "a link in an archive": (linked, "'a.png' is a link"),
    "an archive cut short": (cut_short, "dataset.path=.*is an archive of a kind that cannot be read"),
    "an archive with one name twice": (twice, "'a.png' is in it twice"),
    "a link that leaves the folder": (link_that_leaves, "b.png is a link that leaves the folder"),
    "a link to a folder outside": (folder_link_that_leaves, "b is a link that leaves the folder"),
    "images of several sizes": (
        lambda tmp: write_folder(tmp / "a", {f"{n}.png": encoded(pixels(n, 90, 70 + n)) for n in range(5)}),
        "of 5 that were looked at 5 differ, .*70 to 74 pixels on the shorter side; set dataset.size=64",
    ),
    "images beside the classes": (
        lambda tmp: write_folder(tmp / "a", {"x/a.png": PNG, "y/b.png": PNG, "c.png": PNG}),
        "1 images, as c.png, lie beside the 2 folders",
    ),
    "splits beside other folders": (
        lambda tmp: write_folder(tmp / "a", {"train/a.png": PNG, "test/b.png": PNG, "more/c.png": PNG}),
        r"folders for splits \(test, train\) beside others \(more\); choose one with dataset.subset=",
    ),
    "a full test folder beside an empty one for training": (
        lambda tmp: write_folder(tmp / "a", {"train/.keep": b"", "test/x/b.png": PNG, "test/y/c.png": PNG}),
        "images in test alone, and none in train; .* as dataset.subset=test",
    ),
    "only held-out folders": (
        lambda tmp: write_folder(tmp / "a", {"val/b.png": PNG, "test/c.png": PNG}),
        "images in test and val alone, and none in train",
    ),
    "the same within a folder, in an archive": (
        lambda tmp: write_zip(tmp / "a.zip", {"set/Test/b.png": PNG, "set/Test/c.png": PNG}),
        "images in Test alone",
    ),
    "training images of which none can be read": (
        lambda tmp: write_folder(
            tmp / "a", {"train/a.png": b"x", **{f"test/{n}.png": PNG for n in range(3)}, "val/b.png": PNG}
        ),
        r"dataset.max_broken=0.01 allows 0 of 5 files .* train/a.png",
    ),
    "a label that is no number": (
        lambda tmp: write_folder(tmp / "a", {"0/a.png": PNG, "dataset.json": b'{"labels": [["0/a.png", 0.5]]}'}),
        r"0/a.png has the label 0.5 in dataset.json, .* set dataset.labels=false",
    ),
    "a label of several numbers": (
        lambda tmp: write_folder(tmp / "a", {"0/a.png": PNG, "dataset.json": b'{"labels": [["0/a.png", [0, 1]]]}'}),
        r"0/a.png has the label \[0, 1\] in dataset.json",
    ),
    "an image without a label": (
        lambda tmp: write_folder(tmp / "a", {"0/a.png": PNG, "dataset.json": b'{"labels": [["0/b.png", 0]]}'}),
        "0/a.png has no label in dataset.json",
    ),
    "labels that are no list": (
        lambda tmp: write_folder(tmp / "a", {"0/a.png": PNG, "dataset.json": b'{"labels": 3}'}),
        "`labels` of dataset.json should be a list",
    ),
    "a list that is no JSON": (
        lambda tmp: write_zip(tmp / "a.zip", {"0/a.png": PNG, "dataset.json": b"{"}),
        "dataset.json is no JSON",
    ),
    "nothing that can be read": (
        lambda tmp: write_folder(tmp / "a", {"a.png": b"", "b.png": b""}),
        "first 2 files none can be read: [ab].png",
    ),
    "a side of a million pixels": (
        lambda tmp: write_folder(tmp / "a", {"a.png": encoded(Image.new("L", (1_000_000, 1)))}),
        r"size=\(1, 1000000\) must be",
    ),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, load, make: Callable, sentence: str):
    path = make(tmp_path)
    before = everything(tmp_path)
    with pytest.raises((ConfigError, ValueError), match=sentence) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert {name for name in everything(tmp_path) - before if not name.startswith("cache")} == set()


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_nothing_is_written_but_into_the_cache(tmp_path: Path, load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = write_zip(tmp_path / "a.zip", {f"{n}.png": encoded(pixels(n)) for n in range(3)})
    load(path)
    assert {name.split("/")[0] for name in everything(tmp_path)} == {"a.zip", "cache"}


SETTINGS = {
    "no path": ({"path": None}, "path=null names no images; give a folder"),
    "an empty path": ({"path": ""}, "path=null names no images"),
    "an empty cache": ({"cache_dir": ""}, "cache_dir='' names no folder"),
    "a fit that is none": ({"fit": "zoom"}, "fit='zoom' is none of crop, pad, stretch"),
    "no size": ({"size": 0}, "size=0 must be"),
    "three sides": ({"size": [1, 2, 3]}, "size=.1, 2, 3. must be"),
    "two channels": ({"channels": 2}, "channels=2 must be 1"),
    "all held out": ({"held_out": 0.5}, "held_out=0.5 must be"),
    "more than all broken": ({"max_broken": 1.5}, "max_broken=1.5 is a share"),
}


@pytest.mark.parametrize(("settings", "sentence"), SETTINGS.values(), ids=SETTINGS)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        ImageFolder(**{"path": str(write_folder(tmp_path / "a", {"a.png": PNG})), **settings})


# ---- classes, splits and subsets


def names(data: ImageFolder, split: str) -> list[str]:
    part = data.split(split)
    return sorted(data.spec.class_names[k] for k in part.labels.tolist())


def test_folders_are_classes_and_numbers_in_names_count(tmp_path: Path, load):
    files = {f"class {n}/{k}.png": encoded(pixels(n)) for n in (10, 9, 2) for k in range(n)}
    data = load(write_folder(tmp_path / "a", files))
    assert data.spec.class_names == ("class 2", "class 9", "class 10")
    assert torch.bincount(data.labels).tolist() == [2, 9, 10]
    for image, label in zip(data.images, data.labels, strict=True):
        number = (2, 9, 10)[int(label)]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels(number))
    assert load(tmp_path / "a", labels=False).labels is None


def test_one_folder_alone_is_no_class_and_gone_into(tmp_path: Path, load):
    assert load(write_folder(tmp_path / "a", {"photos/a.png": PNG, "photos/b.png": PNG})).labels is None
    data = load(write_zip(tmp_path / "a.zip", {"photos/x/a.png": PNG, "photos/y/b.png": PNG}))
    assert data.spec.class_names == ("x", "y")


def test_deeper_folders_belong_to_the_class_above(tmp_path: Path, load):
    data = load(write_folder(tmp_path / "a", {"x/1/a.png": PNG, "x/2/b.png": PNG, "y/c.png": PNG}))
    assert names(data, "train") == ["x", "x", "y"]


def test_folders_named_as_splits_are_the_splits(tmp_path: Path, load):
    files = {
        f"{s}/{c}/{n}.png": PNG
        for s, count in (("train", 3), ("VAL", 2), ("test", 1))
        for c in "xy"
        for n in range(count)
    }
    data = load(write_folder(tmp_path / "a", files))
    assert data.splits == {"train": 6, "validation": 4, "test": 2}
    assert names(data, "validation") == ["x", "x", "y", "y"]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("labels", [[6, 0, 6], None])
def test_an_archive_of_stylegans_tool_has_its_labels_in_a_list(tmp_path: Path, load, archived: bool, labels):
    """Folders of a thousand images each are not classes."""
    found = [f"0000{n}/img{n}.png" for n in range(3)]
    listed = labels and [list(pair) for pair in zip(found, labels, strict=True)]
    files = {name: encoded(pixels(n)) for n, name in enumerate(found)}
    files["dataset.json"] = json.dumps({"labels": listed}).encode()
    path = write_zip(tmp_path / "a.zip", files) if archived else write_folder(tmp_path / "a", files)
    data = load(path)
    assert len(data) == 3
    assert data.left_out == []
    if labels is None:
        assert data.labels is None
        assert data.spec.num_classes == 0
        return
    assert data.spec.class_names == tuple("0123456")
    for image, label in zip(data.images, data.labels.tolist(), strict=True):
        number = next(n for n in range(3) if np.array_equal(image.permute(1, 2, 0).numpy(), pixels(n)))
        assert label == labels[number]
    assert load(path, labels=False).labels is None


def test_training_images_of_which_none_can_be_read_are_refused(tmp_path: Path, load):
    files = {"train/a.png": b"x", "val/b.png": PNG, **{f"test/{n}.png": PNG for n in range(3)}}
    with pytest.raises(ConfigError, match="none of the 1 training images can be read"):
        load(write_folder(tmp_path / "a", files), max_broken=1.0)


def test_another_file_of_that_name_changes_nothing(tmp_path: Path, load):
    files = {"x/a.png": PNG, "y/b.png": PNG, "dataset.json": b'{"name": "mine"}'}
    assert load(write_folder(tmp_path / "a", files)).spec.class_names == ("x", "y")


def test_a_subset_is_one_folder_at_the_top(tmp_path: Path, load):
    files = {"train/x/a.png": PNG, "train/y/a.png": PNG, "test/x/a.png": PNG, "test/y/a.png": encoded(pixels(5))}
    path = write_zip(tmp_path / "a.zip", {f"set/{name}": content for name, content in files.items()})
    data = load(path, subset="test")
    assert data.splits == {"train": 2}
    assert names(data, "train") == ["x", "y"]
    by_label = data.images[data.labels.argsort()]
    assert np.array_equal(by_label[1].permute(1, 2, 0).numpy(), pixels(5))
    with pytest.raises(ConfigError, match=r"subset=tset is no folder .*did you mean 'test'\?.*there are: test, train"):
        load(path, subset="tset")


def test_names_that_count_alike_have_one_order(tmp_path: Path, load):
    """The order is independent of that of a set, which changes from process to process."""
    files = {f"{name}/{n}.png": PNG for n, name in enumerate(("1", "01", "001", "10", "x" + "9" * 100))}
    assert load(write_folder(tmp_path / "a", files)).spec.class_names == ("001", "01", "1", "10", "x" + "9" * 100)
    assert natural("9" * 5000) > natural("8" * 5000)


def test_a_number_may_name_a_subset(tmp_path: Path, load):
    assert len(load(write_folder(tmp_path / "a", {"1/a.png": PNG, "2/b.png": PNG}), subset=1)) == 1


def test_names_in_an_archive_may_take_steps_that_lead_nowhere(tmp_path: Path, load):
    data = load(write_zip(tmp_path / "a.zip", {"./x//a.png": PNG, "./y/./b.png": PNG}))
    assert data.spec.class_names == ("x", "y")


def test_a_set_that_is_held_out_as_a_whole_is_refused(tmp_path: Path, load):
    path = write_folder(tmp_path / "a", {"3.png": PNG})
    with pytest.raises(ConfigError, match=r"held_out=0.499 leaves none of 1 images .*set dataset.held_out=0"):
        load(path, held_out=0.499)


def test_any_part_of_the_training_images_is_a_fair_one(tmp_path: Path, load):
    data = load(write_folder(tmp_path / "a", {f"{c}/{n}.png": PNG for c in "xyz" for n in range(100)}))
    assert min(torch.bincount(data.labels[:90]).tolist()) > 15


def test_the_same_images_are_held_out_however_many_come(tmp_path: Path, load):
    few = {f"{n}.png": encoded(pixels(n)) for n in range(300)}
    more = {f"new {n}.png": encoded(pixels(1000 + n)) for n in range(100)}
    one, other = (load(write_folder(tmp_path / f"{len(f)}", f), held_out=0.1) for f in (few, few | more))
    for split in ("validation", "test"):
        kept = {image.numpy().tobytes() for image in one.split(split).images}
        assert kept <= {image.numpy().tobytes() for image in other.split(split).images}
        assert 15 <= len(kept) <= 50
    assert sum(one.splits.values()) == 300


# ---- shapes


def test_a_wide_image_is_cropped_padded_or_stretched(tmp_path: Path, load):
    image = Image.new("RGB", (40, 20), (0, 255, 0))
    image.paste(RED, (0, 0, 10, 20))
    image.paste(BLUE, (30, 0, 40, 20))
    path = write_folder(tmp_path / "a", {"a.png": encoded(image)})
    crop, pad, stretch = (one(load(path, size=20, fit=fit)) for fit in ("crop", "pad", "stretch"))
    assert (crop == (0, 255, 0)).all()  # the middle
    assert (pad[:5] == 0).all()
    assert (pad[15:] == 0).all()
    assert pad[10, 1].tolist() == list(RED)
    assert pad[10, 18].tolist() == list(BLUE)
    assert stretch[0, 1].tolist() == list(RED)
    assert stretch[10, 10].tolist() == [0, 255, 0]
    assert one(load(path, size=[20, 40])).tolist() == np.asarray(image).tolist()


def test_shrinking_is_antialiased(tmp_path: Path, load):
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    data = one(load(write_folder(tmp_path / "a", {"a.png": encoded(board.astype(np.uint8))}), size=16))
    assert abs(data[2:-2, 2:-2].astype(int) - 127.5).max() < 4


def test_gray_sets_have_one_channel_and_mixed_ones_three(tmp_path: Path, load):
    gray = {f"{n}.png": encoded(pixels(n)[..., 0]) for n in range(4)}
    assert load(write_folder(tmp_path / "a", gray)).spec.channels == 1
    mixed = load(write_folder(tmp_path / "b", gray | {"z.png": PNG}))
    assert mixed.spec.channels == 3
    stored = [image.permute(1, 2, 0).tolist() for image in mixed.images]
    assert pixels(1)[..., :1].repeat(3, 2).tolist() in stored
    assert pixels(0).tolist() in stored
    assert load(tmp_path / "b", channels=1).spec.channels == 1
    assert load(tmp_path / "a", channels=3).spec.channels == 3


# ---- what lies about


def test_hidden_files_and_rubbish_are_passed_over(tmp_path: Path, load):
    rubbish = {"._a.png": b"x", ".hidden/b.png": PNG, "__MACOSX/a.png": b"x", "Thumbs.db": b"x", ".DS_Store": b"x"}
    files = {"a.png": PNG, "notes.txt": b"x", "x.json": b"{}", "y.json": b"{}", **rubbish}
    for path in (write_folder(tmp_path / "a", files), write_zip(tmp_path / "a.zip", files)):
        data = load(path)
        assert len(data) == 1
        assert data.left_out == [".json: 2", ".txt: 1"]


def test_links_within_the_folder_are_read_and_what_is_no_file_is_not_opened(tmp_path: Path, load):
    root = write_folder(tmp_path / "a", {"a.png": PNG, "sub/b.png": encoded(pixels(1))})
    (root / "link.png").symlink_to("a.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "again").symlink_to("sub")
    (root / "loop").symlink_to(".")
    os.mkfifo(root / "pipe.png")
    data = load(root, labels=False)
    assert len(data) == 3
    assert sorted(data.left_out) == ["link to a folder: 2", "no regular file: 2"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path, load):
    write_folder(tmp_path / "a", {"a.png": PNG})
    (tmp_path / "link").symlink_to("a")
    assert len(load(tmp_path / "link")) == 1


def test_a_name_that_is_no_text_is_read(tmp_path: Path, load):
    root = write_folder(tmp_path / "a", {"a.png": PNG})
    os.rename(os.fsencode(root / "a.png"), os.fsencode(root) + b"/\xff\xfe.png")
    assert len(load(root)) == 1
    (root / os.fsdecode(b"\xff.png")).write_bytes(b"")
    with pytest.raises(ConfigError, match=r": \\udcff.png \("):
        load(root, size=8)


def test_one_image_of_another_size_among_thousands_is_found(tmp_path: Path, load):
    files = {f"{n}.bmp": encoded(np.full((4, 4, 3), n % 256, np.uint8), "BMP") for n in range(1000)}
    odd = {f"odd {n}.bmp": encoded(np.zeros((5, 4, 3), np.uint8), "BMP") for n in range(1)}
    path = write_zip(tmp_path / "a.zip", files | odd)
    with pytest.raises(ConfigError, match=r"of 1001 that were looked at 2 differ, 4x4 the most"):
        load(path)
    assert not list((tmp_path / "cache").glob("*/pixels*"))


def test_files_of_which_none_can_be_read_are_refused_however_many_may_be_broken(tmp_path: Path, load):
    with pytest.raises(ConfigError, match="allows 1 of 2 files"):
        load(write_folder(tmp_path / "a", {"a.png": b"", "b.png": b"x"}), size=8, max_broken=1.0)


def test_an_animated_image_gives_its_first_frame_in_webp_too(tmp_path: Path, load):
    first, second = Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert (one(load(write_folder(tmp_path / "a", {"a.webp": file.getvalue()}))) == RED).all()
