"""Example programs that serve an exported file without this package, and the signature of its function."""

from textwrap import dedent

from torch import Tensor

from gan_runner.export.functions import Function
from gan_runner.model.latent import Latent
from gan_runner.spec import ImageSpec

SHOWN = 16  # images of an example


def signature(function: Function, latent: Latent, spec: ImageSpec) -> str:
    """Returns the inputs and outputs of a file, one a line."""
    about = {
        "z": f"from {prior(latent)}",
        "labels": f"classes 0 to {spec.num_classes - 1}, required",
        "images": f"in {values(spec)}",
        "score": "higher for real images",
        "logits": f"of the {spec.num_classes} classes",
    }
    if function.player == "generator" and spec.value_range and getattr(function.module.network, "unbounded", False):
        about["images"] += ", not bounded: clip them"
    rows = [("input", *each) for each in function.inputs.items()]
    rows += [("output", *each) for each in function.outputs.items()]
    width = max(len(shape(each)) for _, _, each in rows)
    return "\n".join(f"{way:6}  {name:6}  {shape(each):{width}}  {about[name]}" for way, name, each in rows)


def shape(each: Tensor) -> str:
    kind = "int64" if each.dtype.is_signed and not each.dtype.is_floating_point else "float32"
    return f"({', '.join(['batch', *map(str, each.shape[1:])])}) {kind}"


def prior(latent: Latent) -> str:
    if type(latent) is not Latent:  # a class of the user's own
        return f"the prior {type(latent).__name__}"
    return "N(0, 1)" if latent.draw == latent.normal else f"U[{latent.low:g}, {latent.high:g})"


def values(spec: ImageSpec) -> str:
    return "the plane, unbounded" if spec.value_range is None else f"[{spec.value_range[0]:g}, {spec.value_range[1]:g}]"


def example(function: Function, form: str, file: str, latent: Latent, spec: ImageSpec) -> str:
    """Returns a complete program for the folder of the file. form: pt2 or onnx."""
    opened = {"pt2": PROGRAM, "onnx": ONNX}[form].format(file=file)
    lines = [opened, *inputs(function, form, latent, spec), call(function, form), *shown(function, form, spec)]
    return "\n".join(lines) + "\n"


PROGRAM = dedent("""\
    import torch

    program = torch.export.load("{file}").module()""")
ONNX = dedent("""\
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
    random = np.random.default_rng()""")


def inputs(function: Function, form: str, latent: Latent, spec: ImageSpec) -> list[str]:
    """Returns the lines that make the inputs."""
    torchs = form == "pt2"
    lines = []
    if function.player == "generator":
        size = f"{SHOWN}, {function.inputs['z'].shape[1]}"
        lines.append(f"z = {drawn(latent, size, torchs)}")
    else:
        low, high = spec.value_range or (-1.0, 1.0)
        size = ", ".join(map(str, (SHOWN, *spec.shape)))
        lines.append(f"images = {uniform(size, low, high, torchs)}  # in the place of your images, in {values(spec)}")
    if "labels" in function.inputs:
        lines.append(f"labels = {'torch' if torchs else 'np'}.arange({SHOWN}) % {spec.num_classes}")
    return lines


def drawn(latent: Latent, size: str, torchs: bool) -> str:
    if type(latent) is not Latent:
        return f"torch.zeros({size})" if torchs else f"np.zeros(({size}), np.float32)"
    if latent.draw == latent.normal:
        return f"torch.randn({size})" if torchs else f"random.standard_normal(({size}), dtype=np.float32)"
    return uniform(size, latent.low, latent.high, torchs)


def uniform(size: str, low: float, high: float, torchs: bool) -> str:
    drawn = f"torch.rand({size})" if torchs else f"random.random(({size}), dtype=np.float32)"
    return f"{low:g} + {high - low:g} * {drawn}" if (low, high) != (0, 1) else drawn


def call(function: Function, form: str) -> str:
    names, given = ", ".join(function.outputs), ", ".join(function.inputs)
    if form == "pt2":
        return f"{names} = program({given})"
    pairs = ", ".join(f'"{name}": {name}' for name in function.inputs)
    several = "" if len(function.outputs) > 1 else ","
    return f"{names}{several} = session.run(None, {{{pairs}}})"


def shown(function: Function, form: str, spec: ImageSpec) -> list[str]:
    """Returns the lines that use the outputs: a picture of the images, in a format that needs no library."""
    if function.player == "discriminator" or not spec.drawable:
        return [f"print({', '.join(function.outputs)})"]
    assert spec.value_range is not None  # it is drawable
    low, high = spec.value_range
    scaled = f"(images - {low:g}) * {255 / (high - low):g}".replace("- -", "+ ")
    kind, suffix = ("P5", "pgm") if spec.channels == 1 else ("P6", "ppm")
    size = f"{SHOWN * spec.width} {spec.height}"
    if form == "pt2":
        pixels = f"pixels = ({scaled}).round().clamp(0, 255).to(torch.uint8)"
        content = "bytes(pixels.permute(2, 0, 3, 1).flatten().tolist())"
    else:
        pixels = f"pixels = ({scaled}).round().clip(0, 255).astype(np.uint8)"
        content = "pixels.transpose(2, 0, 3, 1).tobytes()"
    write = f'    file.write(b"{kind} {size} 255\\n" + {content})'
    return [pixels, f'with open("images.{suffix}", "wb") as file:  # the images side by side', write]
