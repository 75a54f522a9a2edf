"""The training command: composes a configuration, names the run, builds it and trains it."""

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gan_runner.assembly.make import make
from gan_runner.cli.entry import enter, job_number, through_hydra
from gan_runner.cli.naming import check_defaults, run_path
from gan_runner.cli.places import CONF, OUTPUTS
from gan_runner.cli.request import Request, request_of_job
from gan_runner.cli.sweep import check_going_on, followed, gpu, launcher_advice, note, noted
from gan_runner.distributed.joining import joined, standing
from gan_runner.distributed.ranks import ALONE, Ranks, started
from gan_runner.errors import ConfigError
from gan_runner.game.settings import End
from gan_runner.records.console import duration, lines_of_run, logging_to
from gan_runner.records.folder import FolderOfAnother, RunFolder
from gan_runner.records.groups import DESCRIBING, SETTINGS, check_groups
from gan_runner.records.identity import flatten, identity, show
from gan_runner.records.scores import NETWORKS, REPORT, SELECTION, Scores
from gan_runner.storage.files import storing

if TYPE_CHECKING:
    from gan_runner.records.source import Source
    from gan_runner.training.run import Run

SHARED_SETTINGS = ("seed", "train.batch_size", "optimizer.lr", "loss.n_critic", "device.precision")
MAX_SCORES = 4  # metric values, at most, in a line of the final report
OF_THE_MACHINE = ("dataset.root", "dataset.cache_dir", "dataset.path")  # settings that may differ between ranks

log = logging.getLogger("gan_runner")


def main() -> None:
    """Runs the command. Exit codes: 0 done, 1 a bug, 2 a mistake of the user, 3 diverged, 128+N stopped by signal N."""
    with joined(), followed(OUTPUTS) if started() == 1 else contextlib.nullcontext():
        enter(job)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """Trains one run, alone or as a job of a sweep. Returns its best value of `train.select_by`, for sweepers."""
    with through_hydra(), noted(job_number()):
        return carry_out(cfg)


def carry_out(cfg: DictConfig) -> float | None:
    ranks = standing()
    if ranks.count != started():
        raise ConfigError("hydra/launcher: jobs in other processes cannot share torchrun's ranks; use the basic one.")
    with ranks.ending_together():
        request = request_of_job(cfg)
    folder = start(request, command(), ranks, job_number())
    by = request.config["train"].get("select_by")
    if by is None or not ranks.first:
        return None
    return Scores(folder.read_summary().get("metrics")).objective(by, folder.path)


def start(request: Request, command: str, ranks: Ranks = ALONE, number: int = 0) -> RunFolder:
    """Trains the requested run to its end, unless it is finished; returns its folder.

    command: the command line that goes on with the run. number: that of the job in its sweep.
    """
    config = request.config
    with ranks.ending_together():
        check_groups(config)
        folder = (RunFolder if ranks.first else FolderOfAnother)(run_path(request))
        make({"_target_": SETTINGS, **config["train"]}, "train")  # checks the settings; a finished run is not built
        source, content = weights(config, folder) if ranks.first else (None, {})
        config = {**config, "train": {**config["train"], **content}}
        fresh = config["train"].get("fresh")
        if not fresh:
            check_defaults(folder, request)
            folder.check_identity(config)
        finished = not fresh and is_finished(folder, config)
        note(number, folder=str(folder.path.absolute()), status="finished before" if finished else None)
    with ranks.ending_together():
        ranks.broadcast(lambda: content, content.update)
        config = {**config, "train": {**config["train"], **content}}
        ranks.broadcast(lambda: config, partial(check_same, config))
    if any(ranks.highest(finished)):
        log.info("%s is finished; train.total_steps= goes on, train.fresh=true starts over", folder.path)
        if ranks.first and (names := unmeasured(folder, config)):
            log.warning(
                "metric: %s not taken of the finished run; python -m gan_runner.evaluate %s --metric %s takes them",
                ", ".join(names),
                *(shlex.quote(str(folder.path)), ",".join(names)),
            )
    else:
        advice = [*optimizer_advice(request), *launcher_advice(config["device"].get("kind", "auto"))]
        train(folder, config, command, advice, hyperparameters(request), ranks, source)
    return folder


def weights(config: Mapping[str, Any], folder: RunFolder) -> "tuple[Source | None, dict[str, Any]]":
    """Returns the weights that the run starts from, if any, and their hash as a setting."""
    if config["train"].get("from_weights") is None:
        return None, {}
    from gan_runner.assembly.starting import source_of  # imports torch

    source, content = source_of(config, folder)
    return source, {"from_weights_hash": content}


def is_finished(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    """Whether the run is finished, according to its summary; the run is not built for this."""
    summary, end = folder.read_summary(), End.of(config["train"])
    if summary.get("status") != "completed":
        return False
    done = end.progress(summary["steps"], summary["images"], summary["seconds"]) >= 1
    return done or end.out_of_patience(summary.get("evaluations_without_gain", 0))


def unmeasured(folder: RunFolder, config: Mapping[str, Any]) -> list[str]:
    """Returns the metrics that are requested now and that the run's stored configuration lacks."""
    before = (folder.read_config() or {}).get("metric", {})
    return [name for name, node in config["metric"].items() if isinstance(node, Mapping) and name not in before]


def command() -> str:
    """Returns the command line of this run; for a job of a sweep, with the overrides of this job alone."""
    alone = HydraConfig.get().mode is RunMode.RUN
    return shlex.join(["python", "-m", "gan_runner", *(sys.argv[1:] if alone else HydraConfig.get().overrides.task)])


def check_same(own: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """ConfigError if this rank's configuration differs from the first rank's, apart from OF_THE_MACHINE."""
    here, there = flatten(own), flatten(first)
    other = [key for key in sorted(here.keys() | there.keys()) if here.get(key, ...) != there.get(key, ...)]
    other = [key for key in other if key not in OF_THE_MACHINE]
    if other:
        raise ConfigError(f"ranks were started with different settings: {', '.join(other)}; type the same everywhere.")


def train(
    folder: RunFolder,
    config: Mapping[str, Any],
    command: str,
    advice: Sequence[str] = (),
    hparams: Mapping[str, float | str | bool] | None = None,
    ranks: Ranks = ALONE,
    source: "Source | None" = None,
) -> None:
    """Builds and trains the run of a resolved configuration in its folder; source: the weights that it starts from."""
    import torch  # imported here: printing help and detecting a finished run do not need torch

    from gan_runner.assembly.advice import advise
    from gan_runner.assembly.build import build
    from gan_runner.assembly.objects import make_tracker
    from gan_runner.assembly.rehearsal import rehearse
    from gan_runner.assembly.starting import start_from
    from gan_runner.cli.search import check_search
    from gan_runner.training.reporting import Origin
    from gan_runner.training.session import Session

    with contextlib.ExitStack() as stack:
        if ranks is ALONE:
            ranks = Ranks(stack.enter_context(gpu(torch.cuda.device_count())))
        with ranks.ending_together():
            run = build(config, ranks)
            run.device.choose_threads(rehearse(run), None if run.settings.fresh else recorded_threads(folder))
            check_search(run.settings.select_by, run.evaluator.better if run.evaluator is not None else {})
            begun = start_from(run, source, config["model"]) if source else []  # other ranks get the first one's state
            tracker = make_tracker(config) if ranks.first else None
            stack.enter_context(folder.claim(config, run.settings.fresh))
            stack.enter_context(log_file(folder.path / "train.log") if ranks.first else contextlib.nullcontext())
        stack.enter_context(lines_of_run(folder.path.name))
        for line in (*describe(run, hparams or {}, folder), *begun):
            log.info(line)
        check_going_on()
        origin = Origin(command, (*advice, *advise(run)), hparams or {})
        Session(run, folder, config, origin, tracker=tracker).train()
        report_end(run, folder)


def report_end(run: "Run", folder: RunFolder) -> None:
    """Logs why the run ended, its alarms, its metrics, and commands for next steps."""
    log.info("done: %d steps in %s (%s)", run.clock.steps, duration(run.clock.seconds), run.clock.ended_by())
    for verdict in run.health.verdicts():
        if verdict.alarm:
            log.warning("  %s", verdict)
    for name, row in endings(run, folder).items():
        log.info("  %-10s %s", name, row)


def endings(run: "Run", folder: RunFolder) -> dict[str, str]:
    """Returns the final report, name -> line: the metrics of the finished run, and commands for next steps."""
    scores, path = Scores(folder.read_summary().get("metrics")), shlex.quote(str(folder.path))
    rows = {}
    for which in NETWORKS:
        values = {**scores.splits(which).get(SELECTION, {}), **scores.splits(which).get(REPORT, {})}
        if shown := [f"{name} {value:.4g}" for name, value in values.items() if value is not None]:
            rest = len(shown) - MAX_SCORES
            more = f" and {rest} more" if rest > 0 else ""
            half_life = f", half-life {found} images" if (found := scores.of(which).get("half_life_images")) else ""
            rows[which] = f"{', '.join(shown[:MAX_SCORES])}{more} (step {scores.step(which)}{half_life})"
    if not rows and run.real.spec.num_classes and run.real.spec.value_range is not None:
        rows["quality"] = f"python -m gan_runner.evaluate {path} --metric classifier_fid"
    return rows | {
        "samples": str(folder.path / "samples"),
        "more": f"python -m gan_runner.sample {path}",
        "curves": f"make board (tensorboard --logdir {OUTPUTS})",
        "compare": f"python -m gan_runner.compare {shlex.quote(str(folder.path.parent))}/*",
    }


def recorded_threads(folder: RunFolder) -> int | None:
    """Returns the number of threads of the previous session: only the same number gives the same last digits."""
    environment = folder.read_summary().get("environment")
    found = environment.get("threads") if isinstance(environment, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def describe(run: "Run", hparams: Mapping[str, Any], folder: RunFolder) -> list[str]:
    """Returns a description of the run, one line for each part."""
    sizes = {p.name: sum(w.numel() for w in p.network.parameters()) for p in (run.generator, run.discriminator)}
    ranks, spec, count = run.device.ranks.count, run.real.spec, "endless" if run.real.endless else f"{len(run.real):,}"
    rows = {
        "loss": f"{hparams.get('loss', '')}, n_critic {run.objective.n_critic}",
        "model": f"{hparams.get('model', '')}, {sizes['generator']:,} + {sizes['discriminator']:,} parameters",
        "dataset": f"{hparams.get('dataset', '')}, {count} of {'x'.join(map(str, spec.shape))}",
        "optimizer": f"{hparams.get('optimizer', '')}, lr {run.generator.rates[0]:g} + {run.discriminator.rates[0]:g}",
        "device": f"{run.device.name}, {run.device.precision}" + f", {ranks} ranks" * (ranks > 1),
        "folder": str(folder.path),
    }
    return [f"{name:<10} {row}" for name, row in rows.items()]


def hyperparameters(request: Request) -> dict[str, float | str | bool]:
    """Returns the columns of a table of runs: group choices, a few common settings, and the typed settings."""
    table: dict[str, Any] = {group: request.choices[group] for group in DESCRIBING if group in request.choices}
    settings = identity(request.config)
    table |= {key: settings[key] for key in (*SHARED_SETTINGS, *request.typed) if key in settings}
    return {key: value if isinstance(value, bool | int | float) else show(value) for key, value in table.items()}


def optimizer_advice(request: Request) -> list[str]:
    """Returns advice if an experiment sets the optimizer although the user typed another loss."""
    typed = request.typed
    if not {"experiment", "loss"} <= typed.keys() or "optimizer" in typed:
        return []
    published = request.recompose([str(typed["loss"].input_line)])["optimizer"]
    if published == request.config["optimizer"]:
        return []
    experiment, loss = typed["experiment"].value(), typed["loss"].value()
    return [f"experiment={experiment} sets the optimizer, not loss={loss}; optimizer=... chooses another."]


class QuietFileHandler(logging.FileHandler):
    """A log file that ignores write errors: the code that writes checkpoints reports a full disk."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        pass


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Also writes the log messages of the run to a file."""
    with storing(path.parent):
        handler = QuietFileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    try:
        with logging_to(handler):
            yield
    finally:
        with contextlib.suppress(OSError):
            handler.close()
