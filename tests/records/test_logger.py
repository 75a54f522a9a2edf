import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from gan_runner.comparison.records import hyperparameters
from gan_runner.records.grid import image_grid, tiled
from gan_runner.records.logger import Logger, record
from gan_runner.spec import ImageSpec


def board(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def log(folder: Path, purge_from: int, steps: range, value: float) -> None:
    logger = Logger(folder, purge_from)
    for step in steps:
        logger.scalars(step, {"loss/generator": value, "loss/discriminator": step / 2})
    logger.close()


@pytest.mark.parametrize("length", [0, 1, 13, 4096])
def test_a_record_is_that_of_tensorboards_own_writer(length: int):
    data, file = os.urandom(length), io.BytesIO()
    RecordWriter(file).write(data)
    assert record(data) == file.getvalue()


def test_numbers_reach_tensorboard_and_the_jsonl_file_alike(tmp_path: Path):
    log(tmp_path, 1, range(1, 4), 0.25)
    events = board(tmp_path).Scalars("loss/discriminator")
    assert [(event.step, event.value) for event in events] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"step": 2, "loss/generator": 0.25, "loss/discriminator": 1.0}


def test_a_second_process_supersedes_what_was_logged_past_its_start(tmp_path: Path):
    log(tmp_path, 1, range(1, 6), 1.0)
    log(tmp_path, 4, range(4, 8), 2.0)
    expected = [(step, 1.0 if step < 4 else 2.0) for step in range(1, 8)]
    assert [(event.step, event.value) for event in board(tmp_path).Scalars("loss/generator")] == expected
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss/generator"]) for line in lines] == expected


def test_settings_keep_their_kinds_in_hparams(tmp_path: Path):
    logger, settings = Logger(tmp_path, 1), {"loss": "gan", "seed": 3, "device.compile": True, "optimizer.lr": 1e-4}
    logger.describe(settings)
    logger.close()
    found = hyperparameters(tmp_path, pytest.fail)
    assert found == settings
    assert found["device.compile"] is True


def test_how_a_run_ended_is_taken_back_by_a_session_that_goes_on(tmp_path: Path):
    for success, status in ((False, STATUS_FAILURE), (True, STATUS_SUCCESS)):
        Logger(tmp_path, None).conclude(success)
        content = board(tmp_path).SummaryMetadata(SESSION_END_INFO_TAG).plugin_data.content
        assert HParamsPluginData.FromString(content).session_end_info.status == status
    Logger(tmp_path, None).close()
    assert SESSION_END_INFO_TAG not in board(tmp_path).Tags()["tensors"]


@pytest.mark.parametrize("last", ['{"step": 2}', '{"step": 2}\n5\n\xff\n'], ids=["no newline", "no record"])
def test_a_whole_record_survives_what_stands_behind_it(tmp_path: Path, last: str):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + last, encoding="latin-1")
    log(tmp_path, 3, range(3, 4), 1.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "loss/gen')
    Logger(tmp_path, 9).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
def test_a_grid_holds_each_image_enlarged_with_a_pixel_between(channels: int):
    images = torch.linspace(-1, 1, 6).view(6, 1, 1, 1).expand(6, channels, 8, 8)
    grid = tiled(images, ImageSpec(channels, 8, 8), columns=3)
    assert grid.shape == (2 * 33 - 1, 3 * 33 - 1, channels)
    assert grid[0, 0, 0] == 0
    assert grid[40, 70, 0] == 255
    assert grid[5, 40, 0] == round(0.2 * 255)
    assert (grid[:, 32] == 0).all()


def test_large_images_keep_their_size():
    assert image_grid(torch.zeros(4, 3, 64, 64), ImageSpec(3, 64, 64)).shape == (129, 129, 3)


def test_a_picture_reaches_both_places(tmp_path: Path):
    logger = Logger(tmp_path, 1)
    picture = np.random.default_rng(0).integers(0, 255, (12, 9, 1), np.uint8)
    logger.image("samples/fixed", "step-00000005", 5, picture)
    logger.close()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "samples" / "step-00000005.png")), picture[:, :, 0])
    (event,) = board(tmp_path).Images("samples/fixed")
    assert (event.step, event.width, event.height) == (5, 9, 12)


def test_a_clock_that_was_set_back_does_not_bring_superseded_numbers_back(tmp_path: Path, monkeypatch):
    log(tmp_path, 1, range(1, 6), 1.0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    log(tmp_path, 4, range(4, 8), 2.0)
    log(tmp_path, 6, range(6, 8), 3.0)
    expected = [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 3.0), (7, 3.0)]
    assert [(event.step, event.value) for event in board(tmp_path).Scalars("loss/generator")] == expected


def test_pictures_are_flushed_with_the_next_sync_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flushed: list[Path] = []
    monkeypatch.setattr("gan_runner.records.logger.flush", flushed.append)
    logger = Logger(tmp_path, None)
    logger.image("samples/fixed", "one", 1, np.zeros((4, 4, 1), np.uint8))
    assert flushed == []
    logger.sync()
    logger.sync()
    assert flushed == [tmp_path / "samples" / "one.png"]
