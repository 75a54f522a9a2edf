"""The environment of a run, which its result depends on: versions, processor, threads, commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gan_runner.device import Device

LIBRARIES = ("torch", "torchvision", "numpy", "hydra-core")


def environment(device: Device) -> dict[str, Any]:
    """Returns the environment for the summary; a resume is reproducible bit for bit only in the same environment."""
    import gan_runner

    return {
        "device": device.name,
        "device_kind": device.torch.type,
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "ranks": device.ranks.count,
        "python": platform.python_version(),
        "gan_runner": gan_runner.__version__,
        **{name: version(name) for name in LIBRARIES},
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """Returns the commit of this code if it runs from a git checkout, else None."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
