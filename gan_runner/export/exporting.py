"""Export of a trained run: every file is loaded again by the library that serves it, and compared."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_runner.assembly.trained import make_sampler, use_weights
from gan_runner.assembly.trial import UNFIT, first_line
from gan_runner.errors import ConfigError, NotExported
from gan_runner.evaluation.sampler import Sampler
from gan_runner.export.card import CARD, File, check_licence, is_foreign, write_card
from gan_runner.export.formats import FORMATS
from gan_runner.export.functions import TOLERANCE, Function, of_discriminator, of_generator
from gan_runner.export.serving import example, signature
from gan_runner.records.weights import SUFFIX, Weights, read_weights, write_weights
from gan_runner.storage.files import storing
from gan_runner.storage.packages import require_packages

SAFETENSORS = "safetensors"
OF_MACHINE = ("root", "path", "cache_dir")  # settings that name places on this machine
KINDS = (*FORMATS, SAFETENSORS)

log = logging.getLogger(__name__)


class Exported(NamedTuple):
    """A file, and its largest difference from the run's own network over 64 images."""

    path: Path
    difference: float
    signature: str = ""  # inputs and outputs of a pt2 or ONNX file
    example: str = ""  # a program that serves it


@dataclass(frozen=True)
class Request:
    """What is exported, and where to."""

    run: Path
    formats: Sequence[str] = KINDS
    discriminator: bool = False
    checkpoint: str = "last"
    out: Path | None = None  # a folder; None: export/ in the run folder
    licence: str | None = None
    trust: Sequence[str] = ()
    average: str | None = None  # half-life of one of several averages


class Model(NamedTuple):
    weights: Weights
    sampler: Sampler
    functions: list[Function]


def export(request: Request, report: Callable[[Exported], None] = lambda made: None) -> tuple[Path, list[Exported]]:
    """Writes the files and the model card. Returns the card and the files. NotExported if a file gives other outputs.

    report: called with each file as soon as it is there.
    """
    for name in request.formats:
        if name not in KINDS:
            raise ConfigError(f"--format {name} is none of {', '.join(KINDS)}.")
        packages = (SAFETENSORS,) if name == SAFETENSORS else FORMATS[name].packages
        require_packages(f"--format {name}", *packages)
    model = load(request)
    out = folder_for(request)
    made: list[Exported] = []
    with storing(out, "exports it again"):
        for name in request.formats:
            for file in write_safetensors(model, out) if name == SAFETENSORS else write_functions(model, out, name):
                report(file)
                made.append(file)
        return card(request, model, out, made), made


def write_only_card(request: Request) -> Path:
    model = load(request)
    out = folder_for(request)
    with storing(out, "exports it again"):
        return card(request, model, out, [])


def card(request: Request, model: Model, out: Path, made: Sequence[Exported]) -> Path:
    """Writes the model card; warns about files of an earlier export, which may be of another network."""
    suffixes = (SUFFIX, *(form.suffix for form in FORMATS.values()))
    there = {path.name for player in ("generator", "discriminator", "model") for path in out.glob(f"{player}.*")}
    earlier = sorted(name for name in there - {each.path.name for each in made} if name.endswith(suffixes))
    if earlier:
        log.warning(
            "%s has %s of an earlier export, which the new card does not list; remove or export again",
            out,
            ", ".join(earlier),
        )
    files = [File(each.path.name, each.signature, each.example, each.difference) for each in made]
    return write_card(out, request.run, model.weights, model.sampler, files, request.licence)


def load(request: Request) -> Model:
    check_licence(request.licence)
    if not request.run.is_dir():
        raise ConfigError(f"{request.run} is no run folder; name one like outputs/default.")

    def use(weights: Weights) -> Model:
        functions = [of_generator(weights)]
        if request.discriminator:
            functions.append(of_discriminator(weights, functions[0].outputs["images"]))
        return Model(weights, make_sampler(weights), functions)

    return use_weights(request.run, request.trust, request.checkpoint, use, request.average)


def folder_for(request: Request) -> Path:
    """Makes the folder of the files, and returns it. ConfigError if it cannot be one, or has a README of its own.

    A link in the run folder may lead out of it: it is removed.
    """
    out = request.out or request.run / "export"
    if request.out is None and out.is_symlink():
        out.unlink()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written ({error.strerror or error}); name another folder.") from error
    if is_foreign(out / CARD):
        raise ConfigError(f"--out={out} has a {CARD} that is no model card of gan_runner; name another folder.")
    return out


def write_functions(model: Model, out: Path, name: str) -> list[Exported]:
    form, made = FORMATS[name], []
    for function in model.functions:
        path = out / f"{function.player}{form.suffix}"

        def write(temporary: Path, function: Function = function) -> float:
            form.write(function, temporary)
            return function.difference(form.run(function, temporary))

        latent, spec = model.sampler.latent, model.weights.spec
        about = signature(function, latent, spec), example(function, name, path.name, latent, spec)
        made.append(Exported(path, verified(path, write), *about))
    return made


def write_safetensors(model: Model, out: Path) -> list[Exported]:
    """Writes the networks as the sampler uses them, with the configuration in the header."""
    networks: dict[str, Mapping[str, Tensor]] = {"generator": model.functions[0].original.state_dict()}
    if len(model.functions) > 1:
        networks["discriminator"] = model.weights.networks["discriminator"]

    def write(temporary: Path) -> float:
        write_weights(temporary, model.weights._replace(networks=networks, config=without_places(model.weights.config)))
        (function, *others) = model.functions
        read = read_weights(temporary)
        found = of_generator(read)
        differences = [function.difference(list(found.outputs.values()))]
        for other in others:
            again = of_discriminator(read, other.inputs["images"])
            differences.append(other.difference(list(again.outputs.values())))
        return max(differences)

    path = out / f"model{SUFFIX}"
    return [Exported(path, verified(path, write))]


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration without the paths of this machine, of which a file that is published tells nobody."""
    cleaned = dict(config)
    for group in ("dataset", "metric"):
        cleaned[group] = {key: None if key in OF_MACHINE else value for key, value in config[group].items()}
    return cleaned


@torch.no_grad()
def verified(path: Path, write: Callable[[Path], float]) -> float:
    """Calls write(temporary path), which returns a difference. Only a file whose difference is small gets its name."""
    temporary = path.with_name(f".{path.name.removesuffix(path.suffix)}.tmp{path.suffix}")
    temporary.unlink(missing_ok=True)  # a link may lead out of an untrusted folder
    try:
        difference = write(temporary)
        if not difference <= TOLERANCE:
            raise NotExported(
                f"{path} is not written: loaded again, it differs by {difference:.2g} from the run's own network, and "
                f"{TOLERANCE:g} is allowed; take another --format."
            )
        os.replace(temporary, path)
    except UNFIT as error:
        raise NotExported(
            f"{path} is not written: the network cannot be exported ({first_line(error)}); take --format safetensors, "
            f"or use shapes such as x.shape[0] in the place of len(x) in a network of your own."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return difference
