"""The door to training: composes a configuration, names the run, builds it and trains it."""

import contextlib
import copy
import functools
import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_runner.cli.sweep import (
    check_going_on,
    followed,
    gpu,
    is_elsewhere,
    launcher_advice,
    note,
    noted,
    of_a_launcher,
)
from gan_runner.distributed.joining import joined, standing
from gan_runner.distributed.ranks import ALONE, Ranks, started
from gan_runner.errors import ConfigError, Diverged, EndedElsewhere, NotWritten, RankLost, Stopped, SweepError, nearest
from gan_runner.records.console import duration
from gan_runner.records.folder import FolderOfAnother, RunFolder, chosen_name, flatten, folder_name, identity, show
from gan_runner.storage.files import storing

if TYPE_CHECKING:
    from gan_runner.training.run import Run

OUTPUTS = Path("outputs")
PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

GROUPS = ("model", "loss", "dataset", "augment", "optimizer", "device", "experiment")
SHARED_SETTINGS = ("seed", "train.batch_size", "optimizer.lr", "loss.n_critic", "device.precision")
ENDINGS = (ConfigError, Diverged, NotWritten, Stopped, EndedElsewhere, RankLost)
OF_THE_MACHINE = ("dataset.root", "dataset.cache_dir", "dataset.path")  # may differ from rank to rank

log = logging.getLogger("gan_runner")


def main() -> None:
    """The command line. Exit codes: 0 done, 1 our bug, 2 the user's mistake, 3 diverged, 128+N stopped by signal N."""
    with joined(), followed(OUTPUTS) if started() == 1 else contextlib.nullcontext():
        enter(job)


def enter(job: Callable[[], None]) -> None:
    """Calls the Hydra function of a door; what ends it becomes one sentence and an exit code."""
    find_users_classes()
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting
    try:
        job()
    except SystemExit as ending:
        if not isinstance(ending.__cause__, ENDINGS):
            raise
        tell(ending.__cause__, traceback_wanted)
    except KeyboardInterrupt:
        if traceback_wanted:
            raise
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # what was told went into a program that has read enough, as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if of_a_launcher(error) or (not isinstance(error, ENDINGS) and raised_in(job, error)):
            raise
        tell(error, traceback_wanted)


def enter_alone(job: Callable[[], None]) -> None:
    """Of a door that shows one configuration, in one process."""
    if started() > 1:
        tell(ConfigError("torchrun is for python -m gan_runner; start this door without it."), traceback_wanted=False)
    if {"-m", "--multirun"} & set(sys.argv):
        tell(ConfigError("-m is for sweeps, and this shows one configuration; leave it away."), traceback_wanted=False)
    enter(job)


def raised_in(job: Callable[[], None], error: Exception) -> bool:
    """Else Hydra raised it over what was typed: its own errors, OmegaConf's, YAML's and plain ValueErrors."""
    return any(frame.name == job.__name__ for frame in traceback.extract_tb(error.__traceback__)[1:])


def tell(error: BaseException, traceback_wanted: bool) -> None:
    """One sentence and the exit code, or the traceback for who asked for it."""
    if traceback_wanted:
        raise error
    sentence = str(error) if isinstance(error, ENDINGS) else one_sentence(error)
    if sentence and standing().may_tell(sentence):
        print(sentence, file=sys.stderr, flush=True)
    sys.exit(getattr(error, "exit_code", ConfigError.exit_code))


def find_users_classes() -> None:
    """A user's own classes are found in the working directory and beside his own configuration."""
    for flag, value in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        if flag in ("--config-dir", "-cd"):
            sys.path.append(os.path.abspath(value))
        elif flag.startswith("--config-dir="):
            sys.path.append(os.path.abspath(flag.split("=", 1)[1]))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def one_sentence(error: BaseException) -> str:
    """Hydra's message of several lines as one, with the nearest of our settings where it knows none."""
    text = str(error).split("Config search path:")[0]
    if text == "Record does not exist.":  # Optuna's
        return "no trial was completed, so that none is the best."
    unknown = re.match(r"Could not override '([\w.]+)'", text)
    if unknown:
        return f"{unknown[1]} is no setting{nearest_setting(unknown[1])}; --cfg job shows all there are."
    absent = re.search(r"Could not load '(\w+)/([^']+)'", text)  # of several choices; of one, Hydra lists what there is
    if absent:
        known = sorted(path.stem for path in (CONF / absent[1]).glob("*.yaml"))
        return f"{absent[1]}={absent[2]} is none of {', '.join(known)}{nearest(absent[2], known)}."
    lines = [line.strip() for line in text.splitlines() if set(line) - set(" ^")]
    told = " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=", "See ")))
    if isinstance(error, OverrideParseException):
        told += """; a value with blanks, commas, brackets or ~ wants quotes within quotes: 'key="value"'."""
    return told


def nearest_setting(key: str) -> str:
    """' (did you mean ...?)' among the settings of the choices that were typed."""
    choices = [word for word in sys.argv[1:] if word.split("=")[0] in GROUPS and "," not in word]
    # a hint only: whatever keeps it from being found, the mistake itself is told
    with contextlib.suppress(Exception), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("config", choices))
        return nearest(key, flatten(config))
    return ""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """One run, alone or as a job of a sweep. Returns the best of `train.select_by`, for sweepers."""
    with through_hydra(), noted(job_number()):
        return carry_out(cfg)


def job_number() -> int:
    """Of this job in its sweep; 0 of a run alone."""
    return HydraConfig.get().job.num if HydraConfig.get().mode is RunMode.MULTIRUN else 0


@contextlib.contextmanager
def through_hydra() -> Iterator[None]:
    """A failure in a sweep is raised, so that the other jobs go on; any other ending Hydra lets pass."""
    try:
        yield
    except ENDINGS as error:
        in_a_sweep, ends_it = HydraConfig.get().mode is RunMode.MULTIRUN, isinstance(error, Stopped | SweepError)
        if in_a_sweep and not ends_it:
            log.error("failed: %s: %s", " ".join(HydraConfig.get().overrides.task), error)
        if in_a_sweep and (is_elsewhere() or not ends_it):
            raise
        raise SystemExit(error.exit_code) from error  # passes through Hydra without a word of its own; ends a sweep
    except Exception:
        if is_elsewhere():  # a traceback does not travel
            log.error("failed: %s\n%s", " ".join(HydraConfig.get().overrides.task), traceback.format_exc())
        raise


def carry_out(cfg: DictConfig) -> float | None:
    ranks = standing()
    if ranks.count != started():
        raise ConfigError("hydra/launcher: jobs in other processes cannot share torchrun's ranks; use the basic one.")
    with ranks.united():
        config = resolve(cfg)
        folder = (RunFolder if ranks.first else FolderOfAnother)(OUTPUTS / study(config) / run_name(cfg, config))
        fresh = (config.get("train") or {}).get("fresh")
        if not fresh:
            folder.check_identity(config)
        finished = not fresh and is_finished(folder, config)
        note(job_number(), folder=str(folder.path.absolute()), status="finished before" if finished else None)
    with ranks.united():
        ranks.hand_on(lambda: config, partial(check_same, config))
    if any(ranks.highest(finished)):
        log.info("%s is finished; train.total_steps= goes on, train.fresh=true starts over", folder.path)
        return objective(folder, config)
    alone = HydraConfig.get().mode is RunMode.RUN
    typed = sys.argv[1:] if alone else HydraConfig.get().overrides.task
    command = shlex.join(["python", "-m", "gan_runner", *typed])
    advice = [*optimizer_advice(config), *launcher_advice(config["device"].get("kind", "auto"))]
    train(folder, config, command, advice, hyperparameters(config), ranks)
    return objective(folder, config)


def objective(folder: RunFolder, config: Mapping[str, Any]) -> float | None:
    """The best of `train.select_by` on the validation split; None where nothing is selected by."""
    by = config["train"].get("select_by")
    if by is None or not standing().first:
        return None
    best = folder.read_summary().get("metrics", {}).get("best", {})
    if best.get("select_by") != by:
        raise ConfigError(
            f"train.select_by={by} chose nothing in {folder.path}: it was not set when that was trained, or was never "
            f"a number; start it over with train.fresh=true."
        )
    return float(best["validation"][by])


def check_search(run: "Run") -> None:
    """A sweeper that optimises is told `train.select_by`, and must know which way it is better."""
    if not HydraConfig.initialized() or "direction" not in HydraConfig.get().sweeper:
        return
    by, direction = run.settings.select_by, direction_of(HydraConfig.get().sweeper.direction)
    if by is None:
        raise SweepError("a search needs a value to search by: set metric=[...] and train.select_by=VALUE of it.")
    assert run.evaluator is not None
    way = run.evaluator.better[by]
    wanted = {"low": "minimize", "high": "maximize"}[way]
    if direction != wanted:
        raise SweepError(f"hydra.sweeper.direction={direction}, and of {by} {way} is better; use {wanted}.")


def direction_of(setting: Any) -> str:
    """Of a sweeper, typed or its own enumeration."""
    return str(getattr(setting, "name", setting)).lower()


def check_same(own: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    """Ranks that were started by several commands must have been given one configuration."""
    here, there = flatten(own), flatten(first)
    other = [key for key in sorted(here.keys() | there.keys()) if here.get(key, ...) != there.get(key, ...)]
    other = [key for key in other if key not in OF_THE_MACHINE]
    if other:
        raise ConfigError(f"ranks were started with different settings: {', '.join(other)}; type the same everywhere.")


def resolve(cfg: DictConfig) -> dict[str, Any]:
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {one_sentence(error)}") from error
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def study(config: Mapping[str, Any]) -> str:
    if config.get("study") is None:
        return ""
    name = chosen_name("study", config["study"])
    if RunFolder(OUTPUTS / name).config.exists():
        raise ConfigError(f"study={name} is the name of a run in {OUTPUTS}; choose another.")
    return name


def train(
    folder: RunFolder,
    config: Mapping[str, Any],
    command: str,
    advice: Sequence[str] = (),
    hparams: Mapping[str, float | str | bool] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Builds the run that a resolved configuration describes and trains it in its folder."""
    import torch  # not needed to print help or to see that a run is finished

    from gan_runner.assembly.build import build
    from gan_runner.assembly.rules import advise
    from gan_runner.training.session import Origin, Session

    with contextlib.ExitStack() as stack:
        if ranks is ALONE:
            ranks = Ranks()
            ranks.local = stack.enter_context(gpu(torch.cuda.device_count()))
        with ranks.united():
            run = build(config, ranks)
            check_search(run)
            stack.enter_context(folder.claim(config, run.settings.fresh))
            stack.enter_context(log_file(folder.path / "train.log") if ranks.first else contextlib.nullcontext())
        for line in describe(run, hparams or {}, folder):
            log.info(line)
        check_going_on()
        Session(run, folder, config, Origin(command, (*advice, *advise(run)), hparams or {})).train()
        log.info("done: %d steps in %s", run.steps, duration(run.seconds))
        log.info("  samples    %s", folder.path / "samples")
        log.info("  more       python -m gan_runner.sample %s", shlex.quote(str(folder.path)))
        log.info("  curves     make board (tensorboard --logdir %s)", OUTPUTS)


def describe(run: "Run", hparams: Mapping[str, Any], folder: RunFolder) -> list[str]:
    """What was composed, a line each."""
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


def hyperparameters(config: Mapping[str, Any]) -> dict[str, float | str | bool]:
    """What tells runs apart in a table: the choices, a few settings that all runs share, and what was typed."""
    choices = HydraConfig.get().runtime.choices
    table: dict[str, Any] = {group: choices[group] for group in GROUPS if choices.get(group)}
    settings = identity(config)
    table |= {key: settings[key] for key in (*SHARED_SETTINGS, *typed_overrides()) if key in settings}
    return {key: value if isinstance(value, bool | int | float) else show(value) for key, value in table.items()}


def optimizer_advice(config: Mapping[str, Any]) -> list[str]:
    """Does the optimizer of an experiment stay although another loss was typed?"""
    typed = typed_overrides()
    if not {"experiment", "loss"} <= typed.keys() or "optimizer" in typed:
        return []
    published = composed([str(typed["loss"].input_line)])["optimizer"]
    if published == config["optimizer"]:
        return []
    experiment, loss = typed["experiment"].value(), typed["loss"].value()
    return [f"experiment={experiment} sets the optimizer, not loss={loss}; optimizer=... chooses another."]


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Sends what the run says to a file as well."""
    with storing(path.parent):
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told by what matters more
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


def is_finished(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    summary = folder.read_summary()
    if summary.get("status") != "completed":
        return False
    done = {"total_steps": summary["steps"], "total_images": summary["images"], "total_seconds": summary["seconds"]}
    totals = config["train"]
    patience, waited = totals.get("patience"), summary.get("evaluations_without_gain", 0)
    if isinstance(patience, int) and waited >= patience:
        return True
    return any(isinstance(totals.get(key), int | float) and value >= totals[key] for key, value in done.items())


# ---- the name of a run: what was typed, without what changes nothing


def run_name(cfg: DictConfig, config: Mapping[str, Any]) -> str:
    if config.get("name") is not None:
        return chosen_name("name", config["name"])
    typed = typed_overrides()
    kept = with_effect({key: str(override.input_line) for key, override in typed.items()})
    return folder_name([setting(typed[key], cfg) for key in kept])


def typed_overrides() -> dict[str, Override]:
    """What was typed, by key, in its order; of a key that was typed twice, the last."""
    typed: dict[str, Override] = {}
    for override in parse(HydraConfig.get().overrides.task):
        for leaf in spread(override):
            typed.pop(leaf.key_or_group, None)
            typed[leaf.key_or_group] = leaf
    return typed


def parse(overrides: Iterable[str]) -> list[Override]:
    return list(OverridesParser.create().parse_overrides(list(overrides)))


def spread(override: Override) -> list[Override]:
    """`train={batch_size:32}` is `train.batch_size=32`: Hydra merges a dictionary into what is there."""
    value = None if override.is_delete() else override.value()
    if isinstance(value, list) and override.key_or_group in GROUPS:
        raise ConfigError(f"{override.key_or_group}={show(value)} should be one choice.")
    if not isinstance(value, dict) or not value:
        return [override]
    return parse(f"++{override.key_or_group}.{key}={quoted(item)}" for key, item in flatten(value).items())


def quoted(value: Any) -> str:
    """A value in Hydra's grammar."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else show(value)


def composed(overrides: Iterable[str]) -> dict[str, Any]:
    """As Hydra does it, but choices of groups, which take it long, are composed once in a sweep."""
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    parsed = parse(overrides)
    choices = [each for each in parsed if loader.repository.group_exists(each.key_or_group) and not merges(each)]
    values = [each for each in parsed if each not in choices]
    config = copy.deepcopy(chosen(loader, HydraConfig.get().job.config_name, *(str(c.input_line) for c in choices)))
    loader._apply_overrides_to_config(values, config)
    return resolve(config)


def merges(override: Override) -> bool:
    """Is it a dictionary under the name of a group, which is no choice?"""
    return not override.is_delete() and isinstance(override.value(), dict)


@functools.lru_cache(maxsize=64)
def chosen(loader: ConfigLoaderImpl, name: str, *choices: str) -> DictConfig:
    """The configuration of some choices of groups, for one command."""
    return hydra.compose(name, list(choices))


def with_effect(typed: dict[str, str]) -> list[str]:
    """The keys of the overrides without which another result-changing configuration is composed."""
    kept = dict(typed)
    try:
        target = identity(composed(kept.values()))
    except HydraException as error:
        raise ConfigError(one_sentence(error)) from error
    for key in sorted(kept):
        without = [text for other, text in kept.items() if other != key]
        with contextlib.suppress(HydraException, ConfigError):  # another override stands on this one: it has an effect
            if identity(composed(without)) == target:
                del kept[key]
    return list(kept)


def setting(override: Override, cfg: DictConfig) -> str:
    """key=value with the value as it was composed: 1e-4 and 0.0001 read alike."""
    key = override.get_key_element().lstrip("+")
    if override.is_delete():
        return f"~{key.lstrip('~')}"
    value = OmegaConf.select(cfg, override.key_or_group)
    if value is None or OmegaConf.is_config(value):  # the choice of a group, a list, a node
        value = override.value()
    return f"{key}={show(value)}"
