"""Published numbers: each can be run; verdicts are recomputed from numbers and intervals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gan_runner import reproduce
from gan_runner.benchmarking.measuring import operations
from gan_runner.cli.places import CONF
from gan_runner.comparison.published import (
    Claim,
    Interval,
    Published,
    judged,
    key_of,
    of_metric,
    published,
)
from gan_runner.errors import ConfigError
from gan_runner.records.identity import config_hash
from gan_runner.records.scores import Scores
from gan_runner.reproduce import hashes_of
from tests.conftest import Command, configure, make_run, of_docs, untrained_inception

RECIPES = sorted(path.stem for path in (CONF / "published").glob("*.yaml"))
RECORDS = Path(__file__).parents[1] / "docs" / "results" / "reproduced"


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_published_belongs_to_runs_that_compose_and_metrics_that_they_take(recipe: str):
    stated = published(CONF / "published", recipe)
    for run in stated.runs:
        config = configure(*stated.overrides(run, 0))
        assert [name for name in config["metric"] if isinstance(config["metric"][name], dict)]
    assert {claim.run for claim in stated.claims} <= stated.runs.keys()
    for claim in stated.claims:
        low, high = claim.accept
        assert low is not None or high is not None
        assert low is None or high is None or low < high
        assert claim.reason


def test_the_page_is_that_of_the_records():
    module = of_docs("reproduced")
    assert module.PAGE.read_text() == module.page()
    assert "- tried: twice as long, 214" in module.section(replace(STATED, tried=["twice as long, 214"]))


CLAIM = Claim("parzen", 225, Interval(215, 235), "made up", certain=True)


@pytest.mark.parametrize(
    ("over_seeds", "values", "verdict"),
    [
        ("mean", [210, 230], "reproduced"),
        ("mean", [210, 219], "short"),
        ("each", [210, 230], "short"),
        ("each", [215, 235], "reproduced"),
        ("count above 220", [221, 219, 230], "short"),
    ],
)
def test_a_verdict_follows_from_the_numbers_and_the_interval(over_seeds: str, values: list[float], verdict: str):
    claim = replace(CLAIM, over_seeds=over_seeds)
    assert claim.verdict(values) == verdict
    remembered = replace(claim, certain=False)
    assert remembered.verdict(values) == {"short": "open"}.get(verdict, verdict)


def test_a_count_of_seeds_is_compared_with_its_interval():
    claim = replace(CLAIM, accept=Interval(None, 3), over_seeds="count above 1.386")
    assert claim.numbers([1.0, 1.4, 2.0]) == [2.0]
    assert claim.verdict([1.0, 1.4, 2.0]) == "reproduced"
    assert claim.verdict([1.5] * 4) == "short"


def test_the_highest_value_is_of_evaluations_after_a_step():
    claim = replace(CLAIM, over_steps="highest", after_step=1000)
    lines = [
        {"step": 1000, "metric/parzen": 9.0},
        {"step": 2000, "metric/test/parzen": 2.0},
        {"step": 3000, "metric/parzen": 3.0},
    ]
    assert of_metric(claim, Scores(), lines)["highest"] == 3.0
    assert of_metric(claim, Scores(), lines[:1])["highest"] is None
    assert of_metric(replace(claim, after_step=999), Scores(), lines)["highest"] == 9.0


STATED = Published("gan_2014_mnist", "made up", "made up", (0, 1), {"": []}, [CLAIM], cost_hours=1.0)
HASHES = {"0": "a", "1": "b"}


def recorded(**changes: Any) -> dict[str, Any]:
    values = {"parzen": {"last": 220.0, "best": None, "highest": 221.0}}
    runs = {key: {"config_hash": HASHES[key], "finished": True, "values": values} for key in HASHES}
    return {"seeds": [0, 1], "settings": [], "accept": [[215, 235]], "runs": runs, **changes}


def verdict(record: dict[str, Any] | None, stated: Published = STATED) -> str:
    (found,) = judged(stated, record, HASHES)
    return found.verdict


def test_a_record_is_reproduced_until_something_is_missing_or_was_changed():
    assert verdict(recorded()) == "reproduced"
    assert verdict(None) == "not run"
    assert verdict(recorded(seeds=[0])) == "not finished"
    assert verdict(recorded(accept=[[200, 235]])) == "open"
    assert verdict(recorded(settings=["device=cpu", "device.precision=bf16", "dataset.root=elsewhere"])) == "reproduced"
    assert verdict(recorded(settings=["device=cpu", "train.total_steps=10"])) == "other settings"
    for key, value, expected in (("finished", False, "not finished"), ("config_hash", "c", "stale")):
        changed = recorded()
        changed["runs"]["1"] = {**changed["runs"]["1"], key: value}
        assert verdict(changed) == expected
    changed = recorded()
    del changed["runs"]["0"]
    assert verdict(changed) == "not finished"


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_each_record_holds_what_its_verdict_is_computed_from(path: Path):
    record = json.loads(path.read_text())
    stated = published(CONF / "published", path.stem)
    for found in record["runs"].values():
        assert {"config_hash", "metrics_sha256", "steps", "seconds", "processor", "git_commit"} <= found.keys()
    assert {key_of(run, seed) for run in stated.runs for seed in record["seeds"]} >= record["runs"].keys()
    assert len(record["accept"]) == len(stated.claims)
    verdicts = {each.verdict for each in judged(stated, record, hashes_of(stated, record["seeds"], record["settings"]))}
    assert stated.tried or not verdicts & {"short", "open"}  # a missed number has the search for its reason


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["experiment=wgan"], "experiment=wgan has no published numbers; choose one of"),
        (["loss=wgan"], "loss=wgan should be experiment=NAME"),
        (["experiment=gan_2014_mnist", "seeds=x"], "seeds=x should be whole numbers"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(arguments: list[str], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        reproduce.reproduce(reproduce.options_of(arguments))


def test_a_record_keeps_the_intervals_that_stood_before_its_runs(tmp_path: Path):
    out = tmp_path / "gan_2014_mnist.json"
    out.write_text(json.dumps({"accept": [[200, 250]], "settings": [], "seeds": [0], "runs": {}}))
    options = reproduce.options_of(["experiment=gan_2014_mnist", "--dry-run", "--out", str(out)])
    assert reproduce.reproduce(options) == 0
    assert json.loads(out.read_text())["accept"] == [[200, 250]]


def test_a_finished_run_of_the_record_is_trained_again_only_if_its_settings_changed(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
):
    out, trained = Path("gan_2014_mnist.json"), []
    monkeypatch.setattr(reproduce, "train", lambda stated, config, overrides, name: trained.append(name) or 0)
    hashes = hashes_of(published(CONF / "published", "gan_2014_mnist"), [0, 1, 2], [])
    runs = {key: {"config_hash": hashes[key], "finished": True, "values": {}} for key in ("0", "2")}
    changed = {"config_hash": "changed", "finished": True, "values": {}}
    out.write_text(
        json.dumps({"accept": [[200, 250]], "settings": [], "seeds": [0, 1, 2], "runs": {**runs, "1": changed}})
    )
    typed = ("experiment=gan_2014_mnist", "--out", str(out))
    for seeds, expected in (("seeds=0", []), ("seeds=0,1,2", ["gan_2014_mnist-1"])):
        assert reproduce.reproduce(reproduce.options_of([*typed, seeds])) == 0
        assert trained == expected
        record = json.loads(out.read_text())
        assert record["seeds"] == [0, 1, 2]
        assert record["runs"] == runs


def photographs(folder: Path) -> Path:
    """Four classes of 20 images each, in a folder for each class."""
    for number in range(80):
        path = folder / f"class {number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


GPU_RECIPES = [name for name in RECIPES if name.endswith("_cifar10")]


@pytest.mark.long
@pytest.mark.parametrize("recipe", GPU_RECIPES)
def test_the_stated_operations_are_those_of_the_whole_training(recipe: str):
    config = configure(f"experiment={recipe}", "dataset=synthetic", "dataset.count=1000", "device=cpu")
    part = 4 / config["train"]["batch_size"]  # of a batch, to save memory; the operations are proportional to it
    settings = [f"train.{key}={int(part * config['train'][key])}" for key in ("batch_size", "generator_batch_size")]
    run = make_run(f"experiment={recipe}", "dataset=synthetic", "dataset.count=1000", "device=cpu", *settings)
    discriminator, generator = operations(run)
    steps = config["train"]["total_steps"] or config["train"]["total_images"] / config["train"]["batch_size"]
    whole = steps * (config["loss"]["n_critic"] * discriminator + generator) / part
    assert published(CONF / "published", recipe).operations == pytest.approx(whole, rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["sngan_cifar10", "r3gan_cifar10"])  # Inception takes a minute for each
def test_a_recipe_for_a_gpu_runs_to_its_record_in_a_small_form(
    entry_point: Command, monkeypatch: pytest.MonkeyPatch, in_tmp: Path, tmp_path: Path, recipe: str
):
    """With images in folders of classes, few steps, and random weights in place of Inception's."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    weights = untrained_inception(tmp_path)
    metrics = yaml.safe_load((CONF / "published" / f"{recipe}.yaml").read_text())["claims"]
    settings = [
        *("dataset=image_folder", f"dataset.path={photographs(tmp_path / 'images')}", "dataset.held_out=0.25"),
        *("device=cpu", "train.total_steps=2", "train.batch_size=4", "train.generator_batch_size=4"),
        *("model.generator.width=16", "model.discriminator.width=16"),
        *(("model.generator.groups=4", "model.discriminator.groups=4") if "r3gan" in recipe else ()),
        *(f"metric.{each['metric']}.{key}" for each in metrics for key in (f"weights={weights}", "n_fake=20")),
        *(f"metric.{each['metric']}.splits=2" for each in metrics if each["metric"] == "inception_score"),
    ]
    answer = entry_point(reproduce.main, f"experiment={recipe}", *settings)
    assert answer.code == 0, answer.err
    assert answer.out.count("other settings") == len(metrics)
    (found,) = json.loads(Path(f"outputs/reproduce/{recipe}.json").read_text())["runs"].values()
    for each in metrics:
        assert found["values"][each["metric"]]["last"] is not None
        if each["metric"] == "fid":
            assert found["protocol"]["fid"]["split"] == each.get("split", "test")
        assert "features_hash" in found["protocol"][each["metric"]]


@pytest.mark.long
def test_one_divergence_of_f_gan_is_trained_measured_and_judged(
    entry_point: Command, monkeypatch: pytest.MonkeyPatch, in_tmp: Path, tmp_path: Path
):
    content = yaml.safe_load((CONF / "published" / "fgan_mixture.yaml").read_text())
    content |= {"runs": {"kl": content["runs"]["kl"]}, "seeds": [0], "claims": content["claims"][:2]}
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "fgan_mixture.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(reproduce, "CONF", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    short = ("optimizer.schedule.shape=constant", "train.total_steps=1500", "device=cpu")
    answer = entry_point(reproduce.main, "experiment=fgan_mixture", *short)
    assert answer.code == 0, answer.err
    record = json.loads(Path("outputs/reproduce/fgan_mixture.json").read_text())
    found = record["runs"]["kl 0"]
    assert found["config_hash"] == config_hash(configure("experiment=fgan_mixture", *short[:2]))
    mean, std = (found["values"][name]["last"] for name in ("fit_mean", "fit_std"))
    assert mean == pytest.approx(1.01, abs=0.3)
    assert std == pytest.approx(1.83, abs=0.3)
    assert f"{mean:.4g}" in answer.out
    assert answer.out.count("other settings") == 2
    again = entry_point(reproduce.main, "experiment=fgan_mixture", *short, "--dry-run")
    assert answer.out.endswith(again.out)
