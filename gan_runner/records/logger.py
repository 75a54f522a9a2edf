"""Logs values and pictures of a run to TensorBoard, metrics.jsonl and PNG files."""

import contextlib
import io
import json
import math
import os
import re
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import yaml
from google.protobuf.struct_pb2 import Value
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR, Summary, SummaryMetadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.metadata import (
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard.summary import custom_scalars, text

from gan_runner.records.tags import meaning
from gan_runner.storage.files import flush, write_atomically

CHARTS = {  # TensorBoard's custom scalars: category -> chart -> its tag, as a regular expression
    "losses": {
        "discriminator": "loss/discriminator",
        "generator": "loss/generator",
        "parts of the losses": "loss/(?!discriminator$|generator$).*",
        "penalties": "penalty/.*",
    },
    "distances": {
        "Wasserstein estimate": "wasserstein/estimate",
        "Wasserstein estimate on held-out images": "wasserstein/held_out",
        "divergence": "divergence/.*",
    },
    "health": {
        "score of real images": "score/real",
        "score of samples": "score/fake",
        "accuracy on real images": "accuracy/real",
        "accuracy on samples": "accuracy/fake",
        "accuracy on pairs": "accuracy/pairwise",
        "accuracy on held-out images": "health/accuracy_held_out",
        "gradient norm of the discriminator's weights": "grad_norm/discriminator",
        "gradient norm of the generator's weights": "grad_norm/generator",
        "gradient norm at the penalty's points": "gradient_norm/.*",
        "separation of real images and samples": "health/separation",
        "separation of training and held-out images": "health/overfitting",
        "standard deviation of samples over that of real images": "health/sample_std_ratio",
        "share of near-duplicates": "health/near_duplicates",
        "distance between neighbours over that of real images": "health/neighbour_ratio",
        "share of weights at the clipping bound": "health/clipped_weights",
        "distance of the average from the generator": "health/ema_distance",
    },
    "speed": {
        "images per second": "speed/images_per_second",
        "share of time spent on data": "speed/data_wait_share",
    },
}
KINDS = {bool: "bool_value", str: "string_value"}  # fields for settings in HParams; other types: number_value
END = ".end"  # suffix of the event file with the final status of a run


class Logger:
    """Logs every step once: earlier entries at or after step `purge_from` become invalid.

    The event file is not written by torch's SummaryWriter: its thread reports a full disk too late, its file names
    follow the system clock, also after the clock was set back, and it computes checksums in Python, 86 ns a byte.
    """

    def __init__(self, folder: Path, purge_from: int | None):
        """purge_from: None keeps all earlier entries."""
        self.folder = folder
        self.metrics = folder / "metrics.jsonl"
        self.known: set[str] = set()  # scalars whose meaning is in the event file
        self.pictures: list[Path] = []  # those that may not be on the disk yet
        for superseded in folder.glob(f"events.out.tfevents.*{END}"):
            superseded.unlink()
        self.events = open(folder / event_file(folder), "xb")  # noqa: SIM115 (closed by close)
        self.lines = open(self.metrics, "ab")  # noqa: SIM115 (closed by close)
        self.event(file_version="brain.Event:2")
        if purge_from is not None:
            self.supersede(purge_from)

    def supersede(self, step: int) -> None:
        """Makes earlier entries at or after this step invalid."""
        self.lines.close()
        keep_before(self.metrics, step)
        self.lines = open(self.metrics, "ab")  # noqa: SIM115 (closed by close)
        self.event(step=step, session_log=SessionLog(status=SessionLog.START))

    def event(self, **content: Any) -> None:
        write(self.events, **content)

    def scalars(self, step: int, values: Mapping[str, float], **beside: Any) -> None:
        """Logs the values of a step. beside: further fields of the line in metrics.jsonl."""
        self.event(step=step, summary=Summary(value=[self.described(tag, value) for tag, value in values.items()]))
        finite = {tag: value if math.isfinite(value) else None for tag, value in values.items()}
        self.lines.write(json.dumps({"step": step, **finite, **beside}).encode() + b"\n")
        self.lines.flush()

    def described(self, tag: str, value: float) -> Summary.Value:
        """Returns a scalar; at the first time with the meaning of its tag, which TensorBoard shows beside the chart."""
        if tag in self.known:
            return Summary.Value(tag=tag, simple_value=value)
        self.known.add(tag)
        return Summary.Value(tag=tag, simple_value=value, metadata=of_scalar(meaning(tag)))

    def holds(self, step: int, key: str) -> bool:
        """Returns True if metrics.jsonl has a line of this step with this key."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines()
        return any(step_of(line) == step and key in json.loads(line) for line in lines)

    def image(self, tag: str, name: str, step: int, grid: np.ndarray) -> None:
        """Writes a grid (H, W, C) uint8 to TensorBoard and to samples/NAME.png."""
        png = io.BytesIO()
        picture = Image.fromarray(grid.squeeze(2) if grid.shape[2] == 1 else grid)
        picture.save(png, "png", compress_level=1)  # 5 to 25 % larger files in a quarter of the time
        path = self.folder / "samples" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, lambda file: file.write(png.getvalue()), durable=False)
        self.pictures.append(path)
        height, width, channels = grid.shape
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png.getvalue())
        self.event(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))

    def describe(self, hparams: Mapping[str, float | str | bool], metrics: Sequence[str] = ()) -> None:
        """Writes, at the start of a run, a session of TensorBoard's HParams and the layout of the charts.

        It writes no experiment: TensorBoard would use the first experiment for all runs. Without an experiment
        TensorBoard collects the settings that differ, and their values, from all runs.
        """
        values = {key: Value(**{KINDS.get(type(value), "number_value"): value}) for key, value in hparams.items()}
        self.event(summary=of_hparams(SESSION_START_INFO_TAG, session_start_info=SessionStartInfo(hparams=values)))
        self.event(summary=custom_scalars(layout_of(metrics)))

    def conclude(self, success: bool) -> None:
        """Writes, at the end of a run, its final status for HParams.

        The status is in a separate file, which a resumed session removes: TensorBoard uses the first of two statuses.
        """
        status = SessionEndInfo(status=STATUS_SUCCESS if success else STATUS_FAILURE)
        with open(self.folder / f"{event_file(self.folder)}{END}", "xb") as file:
            write(file, summary=of_hparams(SESSION_END_INFO_TAG, session_end_info=status))

    def text(self, tag: str, content: str, step: int) -> None:
        self.event(step=step, summary=text(tag, content))

    def sync(self) -> None:
        """Flushes the logs to the disk, also while another thread logs, so that they survive a crash of the machine."""
        for file in (self.events, self.lines):
            os.fsync(file.fileno())
        while self.pictures:
            with contextlib.suppress(FileNotFoundError):  # the user may remove a picture
                flush(self.pictures.pop())

    def close(self) -> None:
        self.events.close()
        self.lines.close()


class Silence(Logger):
    """The logger of a rank that does not write."""

    def __init__(self) -> None:
        pass

    def supersede(self, step: int) -> None:
        pass

    def event(self, **content: Any) -> None:
        pass

    def scalars(self, step: int, values: Mapping[str, float], **beside: Any) -> None:
        pass

    def image(self, tag: str, name: str, step: int, grid: np.ndarray) -> None:
        pass

    def conclude(self, success: bool) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def write(file: BinaryIO, **content: Any) -> None:
    """Writes one record and flushes it to the file."""
    file.write(record(Event(wall_time=time.time(), **content).SerializeToString()))
    file.flush()


def record(data: bytes) -> bytes:
    """Returns a record of the TFRecord format: https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def checksum(data: bytes) -> bytes:
    """Returns the masked CRC-32C of the TFRecord format."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def of_scalar(description: str) -> SummaryMetadata:
    plugin = SummaryMetadata.PluginData(plugin_name="scalars")
    return SummaryMetadata(plugin_data=plugin, summary_description=description, data_class=DATA_CLASS_SCALAR)


def of_hparams(tag: str, **content: Any) -> Summary:
    metadata = create_summary_metadata(HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=NULL_TENSOR)])


def layout_of(metrics: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Returns the layout: one chart per tag, since a line shows only its run; one per metric for all splits."""
    own = {"metrics": {name: f"metric/(test/)?{re.escape(name)}" for name in metrics}} if metrics else {}
    return {
        category: {title: ["Multiline", [f"{tag}$"]] for title, tag in charts.items()}
        for category, charts in (CHARTS | own).items()
    }


def event_file(folder: Path) -> str:
    """Returns a new file name whose time is after all others: TensorBoard reads event files in the order of names."""
    stamps = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(stamp) for stamp in stamps if stamp.isdigit()), default=0)
    return f"events.out.tfevents.{max(int(time.time()), newest + 1):010d}.{socket.gethostname()}.{os.getpid()}"


def keep_before(path: Path, step: int) -> None:
    """Removes the lines of a JSONL file from `step` on, and an incomplete last line."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = "".join(f"{line}\n" for line in lines if step_of(line) < step)
    write_atomically(path, lambda file: file.write(kept.encode()))


def step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return float("inf")


def verbatim(content: str) -> str:
    """Returns the text as a code block of TensorBoard's Markdown."""
    return "".join(f"    {line}\n" for line in content.splitlines())


def protocol_text(protocols: Mapping[str, Any]) -> str:
    """Returns the protocols of each split as text; values with the same protocol are listed together."""
    by_split: dict[str, Any] = {}
    for split, stamps in protocols.items():
        names: dict[str, list[str]] = {}
        for name, stamp in stamps.items():
            names.setdefault(yaml.safe_dump(stamp, sort_keys=False), []).append(name)
        by_split[split] = {", ".join(sharing): yaml.safe_load(stamp) for stamp, sharing in names.items()}
    return verbatim(yaml.safe_dump(by_split, sort_keys=False, width=1000))
