"""Images from a run's generator: python -m gan_runner.sample outputs/NAME.

The same command goes on after an interruption, and its files have the same bytes as without one.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gan_runner.assembly.trained import make_sampler, use_weights
from gan_runner.cli.plain import enter_plain, path
from gan_runner.device import DTYPES, Device
from gan_runner.errors import ConfigError
from gan_runner.evaluation.placed import Placed, device_of
from gan_runner.evaluation.sampler import Sampler
from gan_runner.metric.pools import CHUNK
from gan_runner.records.console import Progress, Terminal, duration, show_error
from gan_runner.records.folder import RunFolder
from gan_runner.records.weights import SUFFIX, Weights, content_hash
from gan_runner.sampling.formats import SUFFIXES, WRITERS, Report, ignore, shards
from gan_runner.sampling.source import by_class, generated, requested_classes
from gan_runner.spec import ImageSpec

SECONDS = 0.2  # between two lines of the progress bar


def main() -> None:
    enter_plain(lambda: Terminal().show(str(write(options_of(sys.argv[1:])))), "interrupted; the same command goes on.")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gan_runner.sample", description="Images from a run's generator.")
    parser.add_argument("run", type=path, help=f"a run folder: outputs/NAME, or a {SUFFIX} file of gan_runner.export")
    parser.add_argument("--count", type=int, default=64, help="how many images (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument(
        "--labels", help="classes of a conditional run, in turn: 3, 0,1,2 or cat,dog (default: one a row)"
    )
    parser.add_argument("--checkpoint", default="last", help="last (default), best or a step")
    parser.add_argument("--average", help="half-life in images, of a run with several averages (default: the first)")
    parser.add_argument("--out", type=path, help="a file, or a folder for png and --shard (default: in the run folder)")
    parser.add_argument("--format", choices=WRITERS, default="grid", help="default grid; zip: png files and labels")
    parser.add_argument("--shard", type=int, help="with --format npz: a folder of files with so many images each")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 or auto")
    parser.add_argument("--precision", choices=DTYPES, default="fp32", help="default fp32; auto: as in training")
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> Path:
    """Generates the images and writes them; returns their path."""
    chosen = None if options.labels is None else [label for label in options.labels.split(",") if options.labels]
    request = Request(options.format, options.count, options.seed, chosen, options.shard)
    together = options.count if options.format == "grid" else CHUNK
    model = load(
        options.run, options.trust, options.checkpoint, together, options.device, options.precision, options.average
    )
    prepare(model)
    if options.run.is_dir() and RunFolder(options.run).status() == "killed":
        show_error(f"{options.run} was killed; its training command goes on from step {model.step}.", "yellow")
    average = f"average-{options.average}-" if options.average else ""
    out = options.out or default_path(options.run, request, f"{average}step-{model.step:08d}")
    with Bar(request.count) as bar:
        save(model, out, request, bar)
    return out


# ---- the generator of a run folder, or of an exported file


@dataclass(frozen=True)
class Request:
    """Which images, and the files that hold them."""

    format: str  # grid, png, npz or zip
    count: int = 64
    seed: int = 0
    labels: Sequence[str] | None = None  # classes, by number or name; None: all
    shard: int | None = None  # images in each npz file of a folder; None: one file

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.format] if self.shard is None else ""


class Trained(NamedTuple):
    """The generator of a run at one step, ready for sampling."""

    step: int
    sampler: Sampler
    content: str  # hash of the weights
    device: Device


def load(
    run: Path,
    trusted: Sequence[str] = (),
    checkpoint: str = "last",
    count: int = CHUNK,
    device: str = "cpu",
    precision: str = "fp32",
    average: str | None = None,
) -> Trained:
    """Returns the generator of a checkpoint, or of a file of `python -m gan_runner.export`.

    trusted: classes, beside those of gan_runner and torch, that may be built. checkpoint: last, best or a step.
    count: the images that will be in memory together. device: auto, cpu, cuda or cuda:N. precision: as in training.
    average: the half-life in images of one of several averages; None: the selected one of best, else the first.
    """
    try:
        place = device_of(device, precision)
    except ValueError as error:
        raise ConfigError(f"--{error}.") from error

    def use(weights: Weights) -> Trained:
        content = content_hash({"generator": weights.networks["generator"]})
        return Trained(weights.step, make_sampler(weights, count, place), content, place)

    return use_weights(run, trusted, checkpoint, use, average)


def prepare(model: Trained) -> None:
    """Sets torch's switches of the process for the model's device; the default device needs none."""
    if isinstance(model.sampler.network, Placed):
        model.device.configure()


def default_path(run: Path, request: Request, network: str) -> Path:
    """Returns the path in the run folder, or beside an exported file. Removes a link, which may lead out of it.

    network: its name in that of the file.
    """
    out = (run if run.is_dir() else run.parent) / "samples" / f"seed-{request.seed}-{network}{request.suffix}"
    if out.is_symlink():
        out.unlink()
    return out


# ---- the files


def save(model: Trained, out: Path, request: Request, report: Report = ignore) -> None:
    """Writes the images. ConfigError if the request does not fit the model, or the files cannot be written."""
    check(request, model.sampler.spec)
    check_suffix(out, request)
    classes = requested_classes(model.sampler, request.labels)
    count = request.count
    if request.format == "grid":
        classes = by_class(classes, count)
        count = count if classes is None else len(classes)
    source = generated(model.sampler, request.seed, count, classes)
    try:
        writer = WRITERS[request.format] if request.shard is None else shards(request.shard)
        writer(out, source, about(model, request), report)
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from error


def check(request: Request, spec: ImageSpec) -> None:
    """ConfigError if the settings of a request do not fit one another or the images."""
    if request.count < 1:
        raise ConfigError(f"--count={request.count} must be at least 1.")
    if request.shard is not None and (request.format != "npz" or request.shard < 1):
        raise ConfigError(f"--shard={request.shard} should be 1 or more, and is for --format npz.")
    if request.format != "npz" and not spec.drawable:
        raise ConfigError(
            f"--format={request.format} makes pictures, but this run makes {spec.kind}; use --format npz."
        )


def check_suffix(out: Path, request: Request) -> None:
    """ConfigError if the suffix of --out is that of another format: the file would not be what its name says."""
    named = {suffix: name for name, suffix in SUFFIXES.items() if suffix}
    if named.get(out.suffix, request.format) != request.format:
        raise ConfigError(
            f"--out={out} names --format {named[out.suffix]}, but the images are written as --format "
            f"{request.format}; change one of them."
        )


def about(model: Trained, request: Request) -> dict[str, Any]:
    """Returns all that the bytes of the files depend on."""
    sampler, device = model.sampler, model.device
    statistics = {"run_seed": sampler.seed, "batch_size": sampler.batch_size}
    place = {"device": device.name, "precision": device.precision, "torch": torch.__version__}
    return {"weights": model.content, **statistics, **place, **asdict(request)}


class Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, count: int):
        self.count, self.terminal = count, Terminal(stderr=True)
        self.began = self.shown = time.monotonic()
        self.first: int | None = None  # images that an earlier command made

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self.terminal.live:
            self.terminal.erase_line()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if not self.terminal.live or now - self.shown < SECONDS:
            return
        self.shown = now
        rate = (done - self.first) / (now - self.began)
        rest = [f"{rate:,.0f} images/s"] + [f"{duration((self.count - done) / rate)} left"] * (rate > 0)
        self.terminal.erase_line()
        self.terminal.show_live(Progress(done / self.count, [f"{done:,} of {self.count:,} images", *rest]))


if __name__ == "__main__":
    main()
