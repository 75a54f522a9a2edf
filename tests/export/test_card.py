"""The model card: every fact of the run once, and a header that hubs read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from gan_runner.export.exporting import Request, write_only_card
from gan_runner.records.folder import RunFolder
from tests.conftest import SMALL, train_in

SHORT = (*SMALL, "train.total_steps=2", "train.checkpoint_every=2", "train.grid=4")
PROTOCOL = {"n_real": 100, "n_fake": 200, "features": "classifier", "seed": 0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Three seeds of one configuration, and a run of another one, with scores."""
    study = tmp_path_factory.mktemp("study")
    made = []
    values = {"seed=0": 1.0, "seed=1": 2.0, "seed=2": 6.0, "loss=hinge": 9.0}
    for typed, value in values.items():
        folder = train_in(study / typed, *SHORT, typed)
        scores = {"fid": value, "memorization_distance": 0.5, "endless": float("inf")}
        metrics = {
            "last": {"step": 2, "test": scores},
            "better": {"fid": "low"},
            "protocol": {"test": dict.fromkeys(scores, PROTOCOL)},
        }
        verdict = {"name": "x", "kind": "alarm", "since": 1, "sentence": "it <script>alert(1)</script> | [a](b)"}
        folder.write_summary({**folder.read_summary(), "metrics": metrics, "verdicts": [verdict]})
        made.append(folder)
    return made


def card(folder: RunFolder, tmp_path: Path, **named: Any) -> tuple[dict[str, Any], str]:
    path = write_only_card(Request(folder.path, out=tmp_path, **named))
    assert path == tmp_path / "README.md"
    _, header, text = path.read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_the_header_has_the_scores_for_hubs(runs: list[RunFolder], tmp_path: Path):
    header, _ = card(runs[0], tmp_path, licence="apache-2.0")
    assert (header["library_name"], header["license"]) == ("gan_runner", "apache-2.0")
    assert header["pipeline_tag"] == "unconditional-image-generation"
    assert header["tags"][0] == "gan"
    (model,) = header["model-index"]
    (result,) = model["results"]
    assert {each["type"]: each["value"] for each in result["metrics"]} == {"fid": 1.0, "memorization_distance": 0.5}
    assert {"task", "dataset", "metrics"} == set(result)


def test_a_score_has_its_protocol_and_its_spread_over_the_seeds_of_its_configuration(
    runs: list[RunFolder], tmp_path: Path
):
    _, text = card(runs[0], tmp_path)
    assert "| fid | 1 | lower | test | 3.0 ± 2.6 (3 seeds) | n_real 100, n_fake 200, features classifier |" in text
    _, text = card(runs[3], tmp_path)
    assert "| fid | 9 | lower | test | one seed: the spread is not known |" in text


def test_other_protocols_are_no_seeds_of_it(runs: list[RunFolder], tmp_path: Path):
    summary = runs[2].read_summary()
    other = json.loads(json.dumps(summary))
    other["metrics"]["protocol"]["test"]["fid"]["n_fake"] = 7
    runs[2].write_summary(other)
    try:
        _, text = card(runs[0], tmp_path)
    finally:
        runs[2].write_summary(summary)
    assert "1.50 ± 0.71 (2 seeds)" in text


def test_scores_of_another_step_are_not_those_of_the_file(runs: list[RunFolder], tmp_path: Path):
    summary = runs[0].read_summary()
    runs[0].write_summary({**summary, "metrics": {**summary["metrics"], "last": {"step": 1, "test": {"fid": 1.0}}}})
    try:
        header, text = card(runs[0], tmp_path)
    finally:
        runs[0].write_summary(summary)
    assert "model-index" not in header
    assert "None were taken at step 2." in text
    assert "Not measured." in text


def test_the_card_has_data_memorization_health_cost_and_settings(runs: list[RunFolder], tmp_path: Path):
    _, text = card(runs[1], tmp_path)
    sections = [line for line in text.splitlines() if line.startswith("## ")]
    assert [line[3:].split()[0] for line in sections] == [
        *("Training", "Data", "Scores", "Memorization", "Health", "Cost", "Licence", "All"),
    ]
    assert "| hash of the training images | `" in text
    assert "| memorization_distance | 0.5 | test |" in text
    assert "optimizer.lr: 0.0002" in text
    assert "| seed | 1 |" in text
    assert "No licence is chosen" in text
    assert Image.open(tmp_path / "samples.png").size == (8 * 33 - 1, 8 * 33 - 1)


def test_texts_of_the_folder_are_no_markup(runs: list[RunFolder], tmp_path: Path):
    _, text = card(runs[0], tmp_path)
    assert "&lt;script>alert(1)&lt;/script> \\| [a]\\(b)" in text
    assert "<script" not in text


def test_the_same_data_has_the_same_hash_and_other_data_another(runs: list[RunFolder], tmp_path: Path):
    def digest(folder: RunFolder) -> str:
        return next(line for line in card(folder, tmp_path)[1].splitlines() if "hash of the training" in line)

    other = train_in(tmp_path / "other", *SHORT, "dataset=synthetic", "dataset.height=8", "dataset.width=8")
    assert digest(runs[0]) == digest(runs[3]) != digest(other)


def test_points_have_no_picture_and_no_hash(tmp_path: Path):
    points = train_in(tmp_path / "run", *SHORT, "dataset=ring8")
    _, text = card(points, tmp_path / "card")
    assert "makes points of 2x1x1" in text
    assert "none: the data are drawn by a formula" in text
    assert [path.name for path in (tmp_path / "card").iterdir()] == ["README.md"]
