"""Images from a run's generator: python -m gan_runner.sample outputs/NAME."""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_runner.assembly.make import make
from gan_runner.assembly.networks import make_network
from gan_runner.assembly.opened import opened, use_chosen
from gan_runner.cli.entry import refuse_torchrun
from gan_runner.device import Device
from gan_runner.errors import ConfigError, nearest
from gan_runner.evaluation.sampler import Sampler
from gan_runner.metric.pools import CHUNK
from gan_runner.model.latent import Latent
from gan_runner.records.averages import MAIN, average_of, named
from gan_runner.records.checkpoint import Checkpoint
from gan_runner.records.console import Terminal, show_error
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import image_grid, to_pixels
from gan_runner.records.scores import mapping
from gan_runner.spec import ImageSpec


def main() -> None:
    try:
        refuse_torchrun()
        Terminal().show(str(write(options_of(sys.argv[1:]))))
    except ConfigError as error:
        show_error(error)
        sys.exit(error.exit_code)


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gan_runner.sample", description="Images from a run's generator.")
    parser.add_argument("run", type=Path, help="a run folder: outputs/NAME")
    parser.add_argument("--count", type=int, default=64, help="how many images (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument(
        "--labels", help="classes of a conditional run, in turn: 3, 0,1,2 or cat,dog (default: one a row)"
    )
    parser.add_argument("--checkpoint", default="last", help="last (default), best or a step")
    parser.add_argument("--average", help="half-life in images, of a run with several averages (default: the first)")
    parser.add_argument("--out", type=Path, help="a file, or a folder for png (default: in the run folder)")
    parser.add_argument("--format", choices=["grid", "png", "npz"], default="grid", help="default grid")
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> Path:
    """Generates the images and writes them; returns their path."""
    if options.count < 1:
        raise ConfigError(f"--count={options.count} must be at least 1.")
    step, sampler = load(options.run, options.trust, options.checkpoint, options.count, options.average)
    if RunFolder(options.run).status() == "killed":
        show_error(f"{options.run} was killed; its training command goes on from step {step}.", "yellow")
    spec = sampler.spec
    if options.format != "npz" and (spec.value_range is None or spec.channels not in (1, 3)):
        made = "points" if spec.value_range is None else f"images of {spec.channels} channels"
        raise ConfigError(f"--format={options.format} makes pictures, but this run makes {made}; use --format npz.")
    chosen = None if options.labels is None else [label for label in options.labels.split(",") if options.labels]
    labels = requested_labels(sampler, options.count, chosen, by_class=options.format == "grid")
    images = generate(sampler, options.seed, options.count, labels)
    average = f"average-{options.average}-" if options.average else ""
    name = f"seed-{options.seed}-{average}step-{step:08d}"
    suffix = {"grid": ".png", "png": "", "npz": ".npz"}[options.format]
    out: Path = options.out or options.run / "samples" / f"{name}{suffix}"
    save(out, options.format, images, sampler.spec, labels)
    return out


def requested_labels(sampler: Sampler, count: int, requested: Sequence[str] | None, by_class: bool) -> Tensor | None:
    """Returns labels (count,): grouped by class, or in turn. None if the generator uses no labels.

    Grouped labels have equally many images of each class, so they may be fewer than `count`.
    """
    typed = ",".join(requested or ())
    if not sampler.conditional:
        if requested is not None:
            raise ConfigError(f"--labels={typed} cannot be: the generator of this run does not use labels.")
        return None
    classes, names = sampler.spec.num_classes, sampler.spec.class_names
    known_numbers = {str(number) for number in range(classes)}
    known = {number: int(number) for number in known_numbers} | {name: number for number, name in enumerate(names)}
    chosen = [label.strip() for label in requested or map(str, range(classes))]
    if unknown := [label for label in chosen if label not in known]:
        few = f", or their names, such as {names[0]}" if set(names) - known_numbers else ""
        raise ConfigError(
            f"--labels={typed} should be classes from 0 to {classes - 1}{few}, with commas between"
            f"{nearest(unknown[0], names)}."
        )
    labels = torch.tensor([known[label] for label in chosen])
    if by_class:
        labels = labels[:count]
        return labels.repeat_interleave(count // len(labels))
    return labels.repeat(math.ceil(count / len(labels)))[:count]


def generate(sampler: Sampler, seed: int, count: int, labels: Tensor | None) -> Tensor:
    """Returns images (count, C, H, W) in spec.value_range; with labels, as many as there are labels."""
    return torch.cat(list(batches(sampler, seed, count, labels)))


def batches(sampler: Sampler, seed: int, count: int, labels: Tensor | None) -> Iterator[Tensor]:
    count = count if labels is None else len(labels)
    sampler.estimate_statistics()
    for number in range(math.ceil(count / CHUNK)):
        chunk = None
        if labels is not None:
            chunk = labels[number * CHUNK :][:CHUNK]
            chunk = torch.cat([chunk, chunk[-1:].expand(CHUNK - len(chunk))])
        images, _ = sampler.chunk(seed, number, chunk)
        yield images[: count - number * CHUNK]


# ---- the generator of a run folder


def load(
    run: Path, trusted: Sequence[str] = (), checkpoint: str = "last", count: int = CHUNK, average: str | None = None
) -> tuple[int, Sampler]:
    """Returns the step of a checkpoint, and a sampler of its generator.

    trusted: classes, beside those of gan_runner and torch, that may be built. checkpoint: last, best or a step.
    count: the images that will be generated, for which the memory must suffice. average: the half-life in images of one
    of several averages; None: the selected one of best, else the main one.
    """
    folder, config = opened(run, list(trusted))
    found: list[tuple[int, Sampler]] = []

    def use(read: Checkpoint) -> None:
        best = mapping(mapping(read.state.get("selection")).get("best")) if checkpoint == "best" else {}
        half_life = average or best.get("half_life_images")
        name = average_of(config["train"].get("ema_half_life_images"), str(half_life)) if half_life else MAIN
        found.append((read.state["counters"]["steps"], restore(config, read.state, count, name)))

    use_chosen(folder.checkpoints, checkpoint, use)
    return found[0]


def restore(config: Mapping[str, Any], state: Mapping[str, Any], count: int, average: str) -> Sampler:
    """Returns a sampler of the averaged generator, on the CPU. average: its name."""
    spec = ImageSpec(**state["spec"])
    latent = make(config["model"]["latent"], "model.latent")
    device = Device("cpu")
    size = config["train"]["generator_batch_size"]
    check_count("train.generator_batch_size", size, spec, latent)
    check_count("--count", count, spec, latent)
    generator = make_network(config, "generator", spec, latent, device).eval()
    generator.load_state_dict(state[named("ema", average)])
    return Sampler(generator, latent, spec, config["seed"], size, device.torch)


def check_count(setting: str, images: int, spec: ImageSpec, latent: Latent) -> None:
    """ConfigError if the memory does not suffice for so many images."""
    Device("cpu").require_memory(f"{setting}={images}", 4 * images * (spec.size + latent.dim))


# ---- formats


def save(out: Path, form: str, images: Tensor, spec: ImageSpec, labels: Tensor | None) -> None:
    """Writes the images. form: grid, png or npz."""
    try:
        WRITERS[form](out, images, spec, labels)
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from error


def write_grid(out: Path, images: Tensor, spec: ImageSpec, labels: Tensor | None) -> None:
    save_png(out, image_grid(images, spec, labels))


def write_pngs(out: Path, images: Tensor, spec: ImageSpec, labels: Tensor | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(to_pixels(images, spec).transpose(0, 2, 3, 1)):
        save_png(out / f"{number:06d}.png", image)


def write_npz(out: Path, images: Tensor, spec: ImageSpec, labels: Tensor | None) -> None:
    """Writes `images` (N, H, W, C) uint8, or (N, 1, 1, 2) float32 for points, and `labels` (N,) if conditional."""
    arrays = {"images": to_array(images, spec)} | ({} if labels is None else {"labels": labels.numpy()})
    np.savez(replaced(out), allow_pickle=False, **arrays)


def to_array(images: Tensor, spec: ImageSpec) -> np.ndarray:
    """Images (N, C, H, W) in spec.value_range -> (N, H, W, C) uint8; points -> (N, 1, 1, C) float32."""
    pixels = to_pixels(images, spec) if spec.value_range is not None else images.numpy()
    return pixels.transpose(0, 2, 3, 1)


def save_png(out: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(replaced(out), "png")


def replaced(out: Path) -> Path:
    """Prepares `out` for writing: makes its folder, and removes a link, which may lead out of an untrusted folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_symlink():
        out.unlink()
    return out


WRITERS = {"grid": write_grid, "png": write_pngs, "npz": write_npz}

if __name__ == "__main__":
    main()
