"""Metrics after training: python -m gan_runner.evaluate outputs/NAME.

The command adds metrics to a run that is not being trained, or scores a folder of images, from any program, against a
dataset.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_runner.assembly.build import build
from gan_runner.assembly.objects import make_dataset, make_device, make_evaluator
from gan_runner.assembly.opened import opened, use_chosen
from gan_runner.cli.compose import compose
from gan_runner.cli.plain import enter_plain, find_users_classes, path
from gan_runner.cli.requested_metrics import RequestedMetrics, configured
from gan_runner.distributed.ranks import ALONE
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import subject_of
from gan_runner.evaluation.foreign import read_images
from gan_runner.evaluation.selection import Evaluation
from gan_runner.metric.pools import CHUNK, Chunk, Pool
from gan_runner.records import checkpoint
from gan_runner.records.checkpoint import Checkpoint
from gan_runner.records.console import Terminal, logging_to, table
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import tiled
from gan_runner.records.identity import differences
from gan_runner.records.logger import Logger, protocol_text
from gan_runner.records.scores import REPORT, Scores, finite
from gan_runner.storage.files import storing
from gan_runner.training.judging import evaluate as take_metrics
from gan_runner.training.run import Run


def main() -> None:
    find_users_classes()
    with logging_to(logging.StreamHandler()):  # long operations and warnings, on stderr
        enter_plain(lambda: score(options_of(sys.argv[1:])), "interrupted; what is printed above is stored.")


def score(options: argparse.Namespace) -> None:
    """Scores a run or a folder of images, and writes the values to --out."""
    options = checked(options)
    found = score_images(options) if options.images is not None else evaluate(options)
    if options.out is not None:
        write(options.out, found)


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.evaluate", description="Metrics of a finished run, or of a folder of images."
    )
    parser.add_argument("run", type=path, nargs="?", help="a run folder: outputs/NAME")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, all or a step")
    parser.add_argument("--metric", nargs="+", metavar="NAME", help="choices of the group metric (default: the run's)")
    parser.add_argument("--split", default=REPORT, help="of real images: test (default), validation or train")
    parser.add_argument("--n-fake", type=int, help="samples for every metric (default: the run's setting)")
    parser.add_argument("--n-real", type=int, help="real images for every metric (default: the run's setting)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings such as metric.fid.weights="
    )
    parser.add_argument("--images", type=path, help="score these instead: a folder of images, or an npz file")
    parser.add_argument("--dataset", help="with --images and without a run: what they are compared with, as mnist")
    parser.add_argument("--out", type=path, help="also write the values with their protocols to this json file")
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")
    return parser.parse_args(arguments)


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """Returns the options with --set metric.n_fake and n_real applied. ConfigError if options conflict."""
    if options.out is not None and (options.out.is_dir() or not options.out.absolute().parent.is_dir()):
        raise ConfigError(f"--out={options.out} should be a file in a folder that exists.")
    if options.images is not None and options.checkpoint != "last":
        raise ConfigError("--checkpoint is of a run, and --images are none; leave one of them away.")
    if options.dataset is not None and (options.run is not None or options.images is None):
        raise ConfigError("--dataset is for --images without a run; a run has its own.")
    for setting in list(options.set):
        key, _, value = setting.partition("=")
        if key in ("metric.n_fake", "metric.n_real") and value.isdecimal():  # for every metric, as in training
            setattr(options, key.removeprefix("metric."), int(value))
            options.set.remove(setting)
    return options


# ---- a run


def requested_of(options: argparse.Namespace) -> RequestedMetrics:
    return RequestedMetrics(options.metric, options.split, options.n_fake, options.n_real, options.set)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Computes, prints and stores the metrics of the chosen checkpoints. Returns step -> values and protocols."""
    if options.run is None:
        raise ConfigError("name a run folder such as outputs/default, or --images with --dataset.")
    results: dict[str, Any] = {}

    def report(step: int, evaluation: Evaluation) -> None:
        show(f"{options.run}, step {step}", evaluation)

    requested = requested_of(options)
    for step, evaluation, left_out in evaluations(options.run, options.trust, options.checkpoint, requested, report):
        if left_out:
            names = ", ".join(left_out)
            Terminal().show(f"  (in metrics.jsonl alone; summary.json has them by another protocol: {names})")
        results[str(step)] = as_json(evaluation)
    return results


def evaluations(
    path: Path,
    trusted: Sequence[str],
    checkpoint: str,
    requested: RequestedMetrics,
    report: Callable[[int, Evaluation], None] = lambda step, evaluation: None,
) -> Iterator[tuple[int, Evaluation, list[str]]]:
    """Computes and stores the metrics of each chosen checkpoint of a run; a full disk comes after the report.

    Yields the step, the evaluation, and the metrics of which summary.json keeps a value of another protocol.
    """
    folder, config = opened(path, list(trusted))
    if not folder.read_summary():
        raise ConfigError(f"{folder.summary} is missing or damaged; the command that trained the run writes it anew.")
    with_metrics = configured(requested, config)
    with folder.locked():
        run = build(with_metrics, splits=[requested.split])
        check_split(requested.split, run.dataset.splits)

        def restore(found: Checkpoint) -> None:
            changed = differences(found.config, config)
            if changed:
                raise ConfigError(f"{found.path} was made by another configuration: {'; '.join(changed)}.")
            run.load_state(found.state)

        for which in every(folder, checkpoint):
            use_chosen(folder.checkpoints, which, restore)
            evaluation = take_metrics(run, requested.split)
            assert evaluation is not None  # `configured` refuses a run without metrics
            report(run.clock.steps, evaluation)
            with storing(folder.path, "computes the metrics anew"):
                left_out = store(folder, run, evaluation)
            yield run.clock.steps, evaluation, left_out


def check_split(split: str, splits: Mapping[str, int]) -> None:
    there = [name for name, size in splits.items() if size]
    if split not in there:
        raise ConfigError(f"--split={split} is no split that has images; choose one of {', '.join(there)}.")


def every(folder: RunFolder, which: str) -> list[str]:
    """Returns the names of the checkpoints that `which` selects, each step once."""
    if which != "all":
        return [which]
    steps = [str(checkpoint.step_of(path)) for path in checkpoint.checkpoints(folder.checkpoints)]
    best = Scores(folder.read_summary().get("metrics")).step("best")
    there = (folder.checkpoints / checkpoint.BEST).is_file() and str(best) not in steps
    return ["best"] * there + steps or ["last"]


def store(folder: RunFolder, run: Run, found: Evaluation) -> list[str]:
    """Adds an evaluation to the folder. Returns the metrics of which summary.json keeps a value of another protocol."""
    step, real = run.clock.steps, run.real
    logger = Logger(folder.path, None)
    logger.scalars(step, found.tags(), protocol=found.protocols)
    logger.text("protocol", protocol_text({found.split: found.protocols}), step)
    for name, (images, columns) in found.pictures.items():
        grid = tiled(real.decode(images), real.spec, columns)
        logger.image(f"samples/{name}", f"{name}-{step:08d}", step, grid)
    logger.close()
    summary = folder.read_summary()
    scores = Scores(summary.get("metrics"))
    assert run.evaluator is not None  # the evaluator took the metrics
    scores.declare(run.evaluator.better)
    if step == summary.get("steps"):
        scores.begin("last", step)
    left_out = scores.add(step, found.split, found.values, found.protocols)
    folder.write_summary({**summary, "metrics": scores.content})
    return left_out


# ---- images from any program


def score_images(options: argparse.Namespace) -> dict[str, Any]:
    """Computes and prints the metrics of the images. Returns path -> values and protocols."""
    if options.run is not None:
        _, config = opened(options.run, options.trust)
    elif options.dataset is not None:
        overrides = [f"dataset={options.dataset}", *(each for each in options.set if each.startswith("dataset."))]
        config = compose(overrides)
    else:
        raise ConfigError("--images needs real images to compare with: a run folder, or --dataset mnist.")
    config = configured(requested_of(options), config)
    device = make_device(config, ALONE)
    device.configure()
    dataset = make_dataset(config)
    check_split(options.split, dataset.splits)
    images = read_images(options.images, dataset.spec)
    if options.n_fake is None:
        for node in (each for each in config["metric"].values() if isinstance(each, dict) and "n_fake" in each):
            node["n_fake"] = len(images)
    subject = subject_of(dataset, players=False)
    evaluator = make_evaluator(config, dataset, subject, device, "8 bits", [options.split])
    assert evaluator is not None  # `configured` refuses a configuration without metrics
    if evaluator.unfit():
        raise ConfigError(*evaluator.unfit())

    def read(number: int) -> Chunk:
        return Chunk(images[number * CHUNK : (number + 1) * CHUNK], None)

    found = evaluator(Pool(read, len(images)), None, options.split, "images")
    show(f"{options.images}, {len(images)} images", found)
    return {str(options.images): as_json(found)}


# ---- output


def show(title: str, found: Evaluation) -> None:
    """Prints each value with its protocol."""
    terminal = Terminal()
    terminal.show(f"{title}, {found.split} split")
    rows = []
    for name, value in found.values.items():
        stamp = found.protocols[name]
        counts = [f"{stamp[key]} {key[2:]}" for key in ("n_real", "n_fake", "n_train") if key in stamp]
        rows.append((name, f"{value:.6g}", ", ".join([*counts, *features_of(stamp)])))
    terminal.show(table(("metric", "value", "protocol"), rows, numbers=("value",)))


def features_of(stamp: Mapping[str, Any]) -> list[str]:
    if "features" not in stamp:
        return []
    accuracy = stamp.get("features_accuracy")
    return [stamp["features"] + (f" ({100 * accuracy:.1f} % right)" if accuracy is not None else "")]


def as_json(found: Evaluation) -> dict[str, Any]:
    return {"split": found.split, "values": finite(found.values), "protocol": found.protocols}


def write(out: Path, found: Mapping[str, Any]) -> None:
    try:
        out.write_text(json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written: {error.strerror or error}.") from error


if __name__ == "__main__":
    main()
