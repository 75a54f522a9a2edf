"""Files of a network, each with a function that writes it and one that runs it with the library that serves it."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_runner.export.functions import Function, as_list

EXAMPLES = 3  # images with which a network is traced; the size of a batch stays free


class Format(NamedTuple):
    suffix: str
    packages: tuple[str, ...]  # of the extra `export`
    write: Callable[[Function, Path], None]
    run: Callable[[Function, Path], list[Tensor]]


def write_program(function: Function, path: Path) -> None:
    from torch import export

    with quiet():
        traced = export.export(function.module, examples(function), dynamic_shapes=free_batch(function))
        export.save(traced, path)


def examples(function: Function) -> tuple[Tensor, ...]:
    return tuple(each[:EXAMPLES] for each in function.inputs.values())


def free_batch(function: Function) -> tuple[dict[int, Any], ...]:
    from torch.export import Dim

    batch = Dim("batch", min=1)
    return tuple({0: batch} for _ in function.inputs)


def run_program(function: Function, path: Path) -> list[Tensor]:
    from torch import export

    program = export.load(path).module()
    return as_list(program(*function.inputs.values()))


def write_onnx(function: Function, path: Path) -> None:
    with quiet():
        torch.onnx.export(
            function.module,
            examples(function),
            path,
            dynamo=True,
            dynamic_shapes=free_batch(function),
            input_names=list(function.inputs),
            output_names=list(function.outputs),
            external_data=False,
            verbose=False,
        )


def run_onnx(function: Function, path: Path) -> list[Tensor]:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(list(function.outputs), {name: each.numpy() for name, each in function.inputs.items()})
    return [torch.from_numpy(each) for each in found]


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the warnings of torch's exporters about their own parts."""
    exporters = logging.getLogger("torch")
    level = exporters.level
    exporters.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporters.setLevel(level)


FORMATS = {
    "pt2": Format(".pt2", (), write_program, run_program),
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), write_onnx, run_onnx),
}
