"""What an interrupted command has written: it is kept for the same command, and never mixed with other images."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_runner.errors import ConfigError

MANIFEST = ".sampling.json"  # what the images of a folder depend on

About = Mapping[str, Any]  # all that the bytes depend on


def replaced(out: Path) -> Path:
    """Prepares `out` for writing: makes its folder, and removes a link, which may lead out of an untrusted folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_symlink():
        out.unlink()
    return out


def begin_folder(out: Path, about: About, kind: str) -> None:
    """Prepares a folder of images. ConfigError if it has files of this kind that another command made."""
    out.mkdir(parents=True, exist_ok=True)
    stored = read(out)
    if stored == json.loads(json.dumps(about)):
        return
    if stored is not None or any(out.glob(f"*{kind}")):
        changed = [f"{key}={stored[key]}" for key in about if stored and stored.get(key) != about[key]]
        raise ConfigError(
            f"{out} has other images ({', '.join(changed) or 'of unknown origin'}), and both would be one set; remove "
            f"it, or name another --out."
        )
    replaced(out / MANIFEST).write_text(json.dumps(about))


@contextmanager
def partial(out: Path, about: About) -> Iterator[Path]:
    """Yields the folder beside `out` for unfinished parts, with those of the same command; it is removed at the end."""
    folder = out.with_name(f".{out.name}.partial")
    if folder.is_symlink() or read(folder) != json.loads(json.dumps(about)):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        replaced(folder).mkdir()
        (folder / MANIFEST).write_text(json.dumps(about))
    yield folder
    shutil.rmtree(folder)


def read(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest of a folder; None if it has none, {} if it is damaged."""
    try:
        content = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
