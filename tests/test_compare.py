"""Comparison of run folders: every rule on folders written by hand, and a few trained runs."""

import base64
import csv
import io
import itertools
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import stats

from gan_runner.compare import main
from gan_runner.comparison.curves import POINTS, Curve, mean_of, read_curves, thinned
from gan_runner.comparison.page import COLORS, DASHES, IMAGES, look, picture, rounded
from gan_runner.comparison.ranking import welch
from gan_runner.comparison.records import Record, read
from gan_runner.comparison.rows import Row
from gan_runner.comparison.tables import expendable, narrowed
from gan_runner.records.logger import Logger
from gan_runner.storage import lock
from tests.conftest import SMALL, Answer, Command, train_in

STAMP = {"n_real": 180, "n_fake": 1000, "split": "test", "seed": 0}
Write = Callable[..., Path]


@pytest.fixture
def compare(entry_point: Command, in_tmp: Path) -> Command:
    return partial(entry_point, main)


@pytest.fixture
def write(in_tmp: Path) -> Write:
    return partial(write_in, in_tmp / "outputs")


def write_in(
    outputs: Path,
    name: str,
    value: float | None = None,
    *,
    best: float | None = None,
    loss: str = "gan",
    seed: int = 0,
    status: str = "completed",
    steps: int = 100,
    config: dict[str, Any] | None = None,
    stamp: dict[str, Any] = STAMP,
    metric: str = "classifier_fid",
    typed: bool = True,
    **summary: Any,
) -> Path:
    """A run folder as training leaves it; config: settings by dotted key, typed or brought by a choice."""
    path = outputs / name
    path.mkdir(parents=True)
    settings = {"seed": seed, "loss": {"kind": loss.upper()}, "train": {"select_by": metric}, "dataset": {"size": 8}}
    for key, setting in (config or {}).items():
        *parents, last = key.split(".")
        node: dict[str, Any] = settings
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = setting
    (path / "config.yaml").write_text(yaml.safe_dump(settings))
    judged: dict[str, Any] = {}
    if value is not None:
        judged = {"last": {"step": steps, "test": {metric: value}}, "protocol": {"test": {metric: stamp}}}
        judged["better"] = {metric: "high" if metric == "parzen" else "low"}
        judged["best"] = {"select_by": metric, "step": steps, "test": {metric: value if best is None else best}}
    told = {"status": status, "steps": steps, "images": 64 * steps, "seconds": 10.0, "images_per_second": 640.0}
    told |= {"peak_memory_mb": 500.0, "environment": {"device": "a CPU"}, "last": {"loss/generator": 1.0}}
    (path / "summary.json").write_text(json.dumps({**told, "metrics": judged, **summary}))
    logger = Logger(path, 0)
    hparams = {key: value for key, value in (config or {}).items() if value is not None} if typed else {}
    logger.describe({"loss": loss, "model": "mlp", **hparams})
    logger.close()
    log(path, [step * steps // 4 for step in range(1, 5)])
    (path / "samples").mkdir()
    for step in (steps // 2, steps):
        Image.fromarray(np.full((33, 33), step % 251, np.uint8)).save(path / "samples" / f"step-{step:08d}.png")
    return path


def log(path: Path, steps: list[int], **values: float) -> None:
    lines = [
        {"step": s, "progress/images": 64.0 * s, "speed/images_per_second": 640.0, "loss/generator": s / 10, **values}
        for s in steps
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def rows(answer: Answer) -> list[list[str]]:
    """Cells of the terminal's table, without its heading."""
    assert answer.code == 0, answer.err
    table = re.split(r"\n(?=all:|no room|sorted|no metric|not ranked)", answer.out)[0]
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:] if not line.startswith("---")]


def lines_of(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


# ---- rows and their order


def test_a_row_is_a_configuration_with_mean_deviation_and_number_of_its_seeds(compare, write):
    values = {"gan": [10.0, 12.0, 17.0], "hinge": [3.0, 4.0, 5.0]}
    for loss, found in values.items():
        for seed, value in enumerate(found):
            write(f"{loss}{seed}", value, loss=loss, seed=seed)
    answer = compare("outputs")
    assert [row[:5] for row in rows(answer)] == [
        ["1", "hinge", "4.0 ± 1.0", "4.0 ± 1.0", "3"],
        ["2", "gan", f"{13:.1f} ± {statistics.stdev(values['gan']):.1f}", "13.0 ± 3.6", "3"],
    ]


@pytest.mark.parametrize(("metric", "first"), [("classifier_fid", "gan"), ("parzen", "hinge")])
def test_rows_are_sorted_by_what_is_better_for_the_metric(compare, write, metric: str, first: str):
    write("a", 1.0, loss="gan", metric=metric)
    write("b", 2.0, loss="hinge", metric=metric)
    assert rows(compare("outputs"))[0][1] == first


def test_the_best_network_decides_and_the_last_one_stands_beside_it(compare, write):
    write("a", 9.0, best=1.0, loss="gan")
    write("b", 5.0, best=2.0, loss="hinge")
    assert [row[1:4] for row in rows(compare("outputs"))] == [["gan", "1", "9"], ["hinge", "2", "5"]]


def test_a_loss_is_one_column_whatever_it_brings_and_what_was_typed_is_another(compare, write):
    brought = {"gan": 2, "hinge": 5}
    for loss, critic in brought.items():
        for lr in (0.1, 0.2):
            path = write(f"{loss}{lr}", lr * critic, loss=loss, config={"optimizer.lr": lr})
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["loss"]["n_critic"] = critic
            (path / "config.yaml").write_text(yaml.safe_dump(config))
    answer = compare("outputs")
    assert answer.out.split("\n")[0].split()[:3] == ["#", "loss", "lr"]
    assert len(rows(answer)) == 4
    assert "loss.n_critic" in Path("outputs/compare.md").read_text()


@pytest.mark.parametrize(
    ("losses", "typed", "columns"),
    [
        (("gan", "hinge"), True, ["loss", "lr"]),
        (("gan", "hinge"), False, ["loss", "classifier_fid"]),
        (("gan", "gan"), False, ["lr", "classifier_fid"]),
    ],
    ids=["typed", "brought by the loss", "not explained by a choice"],
)
def test_a_setting_is_a_column_where_it_was_typed_or_nothing_explains_it(compare, write, losses, typed, columns):
    for number, loss in enumerate(losses):
        write(f"run{number}", 1.0, loss=loss, config={"optimizer.lr": number / 10}, typed=typed)
    assert compare("outputs").out.split()[1:3] == columns


def test_a_choice_that_is_not_recorded_is_left_open(compare, write):
    write("a", 1.0, loss="gan")
    next(write("b", 2.0, loss="hinge").glob("events*")).unlink()
    assert [row[:3] for row in rows(compare("outputs"))] == [["1", "mlp", "gan"], ["2", "-", "-"]]


def test_a_group_pools_what_is_alike_in_it_and_says_so(compare, write):
    for seed in (0, 1):
        for lr in (0.1, 0.2):
            for loss in ("gan", "hinge"):
                name, value = f"{loss}{seed}{lr}", seed + lr + (loss == "gan")
                write(name, value, loss=loss, seed=seed, config={"optimizer.lr": lr})
    assert len(rows(compare("outputs"))) == 4
    answer = compare("outputs", "--by", "loss")
    assert [(row[1], row[4]) for row in rows(answer)] == [("hinge", "4"), ("gan", "4")]
    assert "pool several configurations" in answer.out
    assert [row[1] for row in rows(compare("outputs", "--by", "optimizer.lr"))] == ["0.1", "0.2"]


@pytest.mark.parametrize(
    ("condition", "count"),
    [("loss=gan", 2), ("loss=gan,hinge", 3), ("optimizer.lr=1e-1", 2), ("seed=1", 1), ("status=completed", 3)],
)
def test_only_the_runs_that_are_asked_for(compare, write, condition: str, count: int):
    write("a", 1.0, config={"optimizer.lr": 0.1})
    write("b", 1.0, seed=1, config={"optimizer.lr": 0.2})
    write("c", 1.0, loss="hinge", config={"optimizer.lr": 0.1})
    assert compare("outputs", "--where", condition).code == 0
    assert len(lines_of("outputs/compare.csv")) == count


def test_one_configuration_and_seed_counts_once(compare, write):
    write("short", 1.0, steps=100)
    write("long", 2.0, steps=200)
    write("other", 3.0, seed=1)
    answer = compare("outputs")
    assert answer.err == "outputs/short is left out: it has the configuration and the seed of outputs/long.\n"
    assert rows(answer)[0][2:5] == ["2.50 ± 0.71", "2.50 ± 0.71", "2"]


def test_folders_are_named_by_path_by_pattern_or_by_what_holds_them_and_count_once(compare, write):
    for name in ("study/a", "study/b[1]", "b1", ".old/c"):
        write(name, 1.0, config={"train.name": name})
    for arguments in (["outputs"], ["outputs/*"], ["outputs/study", "outputs/b1", "outputs/study/a"]):
        assert compare(*arguments).err == ""
        assert len(lines_of("outputs/compare.csv")) == 3
    assert compare("outputs/study/b[1]").code == 0
    assert [line["folder"] for line in lines_of("outputs/study/compare.csv")] == ["outputs/study/b[1]"]


# ---- what may not be compared


def test_runs_with_unlike_protocols_are_not_ranked_together(compare, write):
    for seed, value in enumerate((1.0, 2.0)):
        write(f"a{seed}", value, loss="gan", seed=seed)
        write(f"b{seed}", value + 1, loss="hinge", seed=seed)
    write("c", 0.5, loss="wgan", stamp={**STAMP, "n_fake": 200})
    answer = compare("outputs")
    assert [row[:2] for row in rows(answer)] == [["1", "gan"], ["2", "hinge"], ["1", "wgan"]]
    assert "not ranked together, their protocols differ in n_fake: 1000, 200\n" in answer.out


def test_seeds_with_unlike_protocols_are_two_rows(compare, write):
    write("a", 1.0)
    write("b", 2.0, seed=1, stamp={**STAMP, "features_hash": "other"})
    assert [row[3] for row in rows(compare("outputs", "--by", "loss"))] == ["1", "2"]


def test_the_same_metric_on_other_data_is_another_protocol(compare, write):
    write("a", 1.0, config={"dataset.size": 8})
    write("b", 2.0, config={"dataset.size": 16})
    write("c", 3.0, config={"dataset.labels_per_class": 10})  # of the training images only
    answer = compare("outputs")
    assert [row[0] for row in rows(answer)] == ["1", "2", "1"]
    assert "dataset.size: 8, 16\n" in answer.out


@pytest.mark.parametrize("status", ["interrupted", "diverged", "failed", "running"])
def test_a_run_that_did_not_end_is_shown_and_does_not_count(compare, write, status: str):
    write("a", 4.0)
    write("b", 100.0, seed=1, status=status)
    write("c", 1.0, loss="hinge", status=status)
    status = "killed" if status == "running" else status
    first, second = rows(compare("outputs"))
    assert first[1:5] == ["gan", "4", "4", "1 of 2"]
    assert first[-1] == f"1 completed, 1 {status}"
    assert second[0] == "-"
    assert second[-2:] == [status, "no run is completed"]


def test_a_run_that_is_being_trained_is_running(compare, write):
    path = write("a", 4.0, status="running")
    with lock.hold(path):
        assert "running" in compare("outputs").out
    assert "killed" in compare("outputs").out


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (([1.0], [2.0]), "n = 1: no conclusion"),
        (([1.0, 1.1], [2.0, 2.1, 2.2]), "n = 2: too few to say"),
        (([1.0, 3.0, 5.0], [2.0, 4.0, 6.0]), "within spread (p=0.57)"),
        (([1.0, 1.1, 1.2], [9.0, 9.1, 9.2]), "worse (p=7e-08)"),
        (([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]), "no spread between seeds: no conclusion"),
    ],
)
def test_how_sure_a_difference_is(compare, write, values, words: str):
    for loss, found in zip(("gan", "hinge"), values, strict=True):
        for seed, value in enumerate(found):
            write(f"{loss}{seed}", value, loss=loss, seed=seed)
    first, second = rows(compare("outputs"))
    assert (first[-1], second[-1]) == ("best", words)


def test_the_test_is_welchs_and_several_comparisons_are_corrected(compare, write):
    one, near, far = [1.0, 1.4, 2.1], [2.0, 2.2, 3.5], [4.0, 4.5, 4.2]
    assert welch(one, near) == pytest.approx(stats.ttest_ind(one, near, equal_var=False).pvalue)
    for loss, found in zip(("gan", "hinge", "wgan"), (one, near, far), strict=True):
        for seed, value in enumerate(found):
            write(f"{loss}{seed}", value, loss=loss, seed=seed)
    answer = compare("outputs")
    twice, once = 2 * welch(one, far), welch(one, near)
    assert [row[-1] for row in rows(answer)][1:] == [f"within spread (p={once:.2f})", f"worse (p={twice:.1g})"]
    assert "the difference from gan is within the spread of the seeds: hinge\n" in answer.out
    assert "Holm's correction for 2 comparisons" in answer.out


def test_a_correction_never_makes_a_larger_p_the_smaller_one(compare, write, monkeypatch: pytest.MonkeyPatch):
    found = {2.0: 0.02, 3.0: 0.03, 4.0: 0.9}
    monkeypatch.setattr("gan_runner.comparison.ranking.welch", lambda one, other: found[other[0]])
    for seed, (value, loss) in itertools.product(range(3), enumerate(("gan", "hinge", "wgan", "lsgan"), 1)):
        write(f"{loss}{seed}", float(value), loss=loss, seed=seed)
    words = [row[-1] for row in rows(compare("outputs"))]
    assert words == ["best", *["within spread (p=0.06)"] * 2, "within spread (p=0.90)"]


# ---- the objective


def test_another_value_or_a_tag_can_be_sorted_by(compare, write):
    write("a", 1.0, last={"loss/generator": 5.0})
    write("b", 2.0, loss="hinge", last={"loss/generator": 3.0})
    assert [row[1:3] for row in rows(compare("outputs", "--select", "loss/generator:low"))] == [
        ["hinge", "3"],
        ["gan", "5"],
    ]
    assert rows(compare("outputs", "--select", "loss/generator:high"))[0][1] == "gan"
    answer = compare("outputs", "--select", "loss/generator")
    assert [row[0] for row in rows(answer)] == ["-", "-"]
    assert "say --select loss/generator:low or :high" in answer.out


def test_a_metric_by_its_tag_keeps_its_protocol(compare, write):
    write("a", 1.0, last={"metric/test/classifier_fid": 1.0})
    write("b", 2.0, loss="hinge", stamp={**STAMP, "n_fake": 200}, last={"metric/test/classifier_fid": 2.0})
    answer = compare("outputs", "--select", "metric/test/classifier_fid")
    assert [row[0] for row in rows(answer)] == ["1", "1"]
    assert "n_fake: 1000, 200\n" in answer.out


def test_what_most_runs_select_by_decides_else_a_metric_that_they_have(compare, write):
    for seed, metric in enumerate(("classifier_fid", "parzen", "classifier_fid")):
        write(f"a{seed}", 1.0 + seed, seed=seed, metric=metric)
    out = compare("outputs").out
    assert "sorted by the best classifier_fid (test), low is better" in out
    assert "the runs select by classifier_fid and parzen; --select" in out
    write("b", 1.0, loss="hinge", config={"train.select_by": None})
    out = compare("outputs", "--where", "loss=hinge").out
    assert "no run selects by a metric; sorted by classifier_fid" in out


def test_runs_without_any_metric_are_shown_unranked(compare, write):
    write("a", config={"train.select_by": None})
    write("b", loss="hinge", config={"train.select_by": None})
    answer = compare("outputs")
    assert [row[:2] for row in rows(answer)] == [["-", "gan"], ["-", "hinge"]]
    assert "no metric was taken" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["outputs", "--select", "fid"], "--select fid: no run has it; there are classifier_fid, loss/generator."),
        (["outputs", "--select", "fid:up"], "should end in :low or :high"),
        (["outputs", "--select", "classifier_fid", "--split", "train"], "no run has it on the train split; there are"),
        (["outputs", "--by", "lozz"], "--by lozz is no group and no setting"),
        (["outputs", "--where", "sed=1"], "--where sed=1 is no setting=value of these runs (did you mean 'seed'?)"),
        (["outputs", "--where", "seed=7"], "--where seed=7 leaves no run; seed is 0."),
        (["nowhere"], "nowhere is not there"),
        (["empty"], "empty is no run folder and holds none"),
        (["outputs", "--out", "outputs/a/config.yaml"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(compare, write, arguments: list[str], words: str):
    write("a", 1.0)
    Path("empty").mkdir()
    answer = compare(*arguments)
    assert answer.code == 2
    assert words in answer.err


# ---- damage


def cut(path: Path, name: str) -> None:
    found = next(path.glob(name))
    found.write_bytes(found.read_bytes()[: -(found.stat().st_size // 7)])


def replace(path: Path, name: str, content: str) -> None:
    next(path.glob(name)).write_text(content)


DAMAGE = {
    "no configuration": (lambda path: (path / "config.yaml").unlink(), "it has no config.yaml", 1),
    "a damaged configuration": (lambda path: replace(path, "config.yaml", "a: [1"), "is damaged", 1),
    "code": (lambda path: replace(path, "config.yaml", "!!python/object/apply:os.mkdir [bad]"), "is damaged", 1),
    "a list": (lambda path: replace(path, "config.yaml", "[1, 2]"), "is damaged", 1),
    "no summary": (lambda path: (path / "summary.json").unlink(), "summary.json is missing or damaged", 2),
    "a cut summary": (lambda path: cut(path, "summary.json"), "summary.json is missing or damaged", 2),
    "another's summary": (
        lambda path: replace(path, "summary.json", '{"metrics": [1], "last": 2, "steps": "x"}'),
        "",
        2,
    ),
    "a cut line": (lambda path: cut(path, "metrics.jsonl"), "metrics.jsonl: 1 line is damaged and left out", 2),
    "other lines": (lambda path: replace(path, "metrics.jsonl", "[]\n3\n"), "2 lines are damaged and left out", 2),
    "no lines": (lambda path: (path / "metrics.jsonl").unlink(), "metrics.jsonl cannot be read (No such file", 2),
    "half an event": (
        lambda path: replace(path, "events*", "\x18" + 11 * "\0" + "half"),
        "is damaged (cut short at byte",
        2,
    ),
    "no event": (lambda path: replace(path, "events*", "x" * 99), "is damaged (cut short", 2),
    "numbers without end": (lambda path: replace(path, "summary.json", f'{{"steps": 1{"0" * 400}}}'), "", 2),
    "depth without end": (lambda path: replace(path, "metrics.jsonl", "[" * 99999), "1 line is damaged", 2),
    "a link out": (lambda path: (path / "checkpoints").symlink_to("/"), "leads out of the run folder", 1),
}


@pytest.mark.parametrize(("harm", "words", "count"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_damaged_costs_one_sentence_and_the_rest_is_compared(compare, write, harm, words: str, count: int):
    write("good", 1.0)
    harm(write("harmed", 2.0, loss="hinge"))
    answer = compare("outputs/*", "outputs/compare.csv")
    assert answer.code == 0
    assert words in answer.err
    assert answer.err.count("\n") == bool(words)
    assert len(lines_of("outputs/compare.csv")) == count
    assert not Path("bad").exists()


def test_a_picture_from_elsewhere_is_not_shown(compare, write):
    path = write("a", 1.0) / "samples"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save("private.png")
    for each in path.iterdir():
        each.unlink()
        each.symlink_to(Path("private.png").absolute())
    assert compare("outputs").code == 0
    assert "<img" not in Path("outputs/compare.html").read_text()


def test_a_damaged_picture_is_named_in_the_page(compare, write):
    path = write("a", 1.0)
    (path / "samples" / "step-00000100.png").write_bytes(b"none")
    assert compare("outputs").code == 0
    assert "step-00000100.png is damaged" in Path("outputs/compare.html").read_text()


def test_an_older_format_is_shown_and_not_ranked(compare, write):
    write("new", 0.3, metric="test_error")
    path = write("old", loss="hinge", metric="test_error", last={"metric/test_error": 0.1})
    summary = json.loads((path / "summary.json").read_text())
    del summary["metrics"]
    (path / "summary.json").write_text(json.dumps(summary))
    answer = compare("outputs")
    assert [row[:2] for row in rows(answer)] == [["1", "gan"], ["-", "hinge"]]
    assert "0.1" in rows(answer)[1]
    assert answer.err == "outputs/old is of an older format: its metrics have no protocol, so that it is not ranked.\n"


# ---- curves


def record(path: Path) -> Record:
    found = read(path, silent)
    assert found is not None
    return found


@pytest.mark.parametrize(("axis", "x"), [("steps", [10, 20]), ("images", [640, 1280]), ("seconds", [1, 2])])
def test_a_curve_runs_over_steps_images_or_seconds(write, axis: str, x: list[float]):
    path = write("a")
    log(path, [10, 20])
    found = read_curves(record(path), ["loss/generator"], silent)["loss/generator"]
    assert np.allclose([found.x[axis], found.y], [x, [1, 2]])


def test_evaluations_stand_between_log_lines_and_seconds_that_are_recorded_are_taken(write):
    path = write("a")
    log(path, [10, 20], **{"speed/seconds": 7.0})
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "metric/fid": 3.0}\n{"step": 30, "metric/fid": null}\n')
    found = read_curves(record(path), ["metric/fid"], silent)["metric/fid"]
    assert {axis: x.tolist() for axis, x in found.x.items()} == {"steps": [5], "images": [320], "seconds": [3.5]}
    assert found.y.tolist() == [3]


def curve(steps: list[float], y: list[float]) -> Curve:
    return Curve({"steps": np.array(steps, float), "seconds": np.array(steps, float) / 2}, np.array(y, float))


def test_the_deviation_is_that_of_the_seeds_where_all_have_values():
    found = mean_of([curve([0, 2, 4], [0, 2, 4]), curve([1, 3], [3, 5])])
    assert found.x["steps"].tolist() == [1, 2, 3]
    assert found.x["seconds"].tolist() == [0.5, 1, 1.5]
    assert np.allclose(found.y, [2, 3, 4])
    assert np.allclose(found.deviation, np.std([1, 3], ddof=1))


def test_an_axis_that_one_seed_lacks_is_left_out():
    assert mean_of([curve([0, 1], [0, 1]), Curve({"steps": np.array([0, 1])}, np.array([0, 1]))]).x.keys() == {"steps"}


def test_a_long_curve_keeps_its_extremes_and_its_order():
    y = np.random.default_rng(0).normal(size=7321)
    found = thinned(Curve({"steps": np.arange(7321)}, y, y + 1))
    assert POINTS / 2 < len(found.y) <= POINTS
    assert (found.y.min(), found.y.max()) == (y.min(), y.max())
    assert np.all(np.diff(found.x["steps"]) > 0)
    assert np.array_equal(y[found.x["steps"]], found.y)
    assert np.array_equal(found.y + 1, found.deviation)


@pytest.mark.parametrize(
    "curves",
    [
        [([5], [1])],
        [([100], [1]), ([200], [2])],
        [([1, 2], [3, 3]), ([1, 2], [3, 3])],
        [([1, 2], [-1e99, 1e99]), ([1, 2], [0, 1e-99])],
    ],
    ids=["one point", "seeds of other lengths", "a constant", "far apart"],
)
def test_whatever_was_logged_can_be_drawn(curves):
    found = thinned(mean_of([curve(*each) for each in curves]))
    drawn = [*found.x.values(), found.y, *([] if found.deviation is None else [found.deviation])]
    assert {len(values) for values in drawn} == {len(found.y)}
    json.dumps([rounded(values) for values in drawn], allow_nan=False)


def test_fifty_lines_look_different():
    row = Row({}, [], [], {}, None, {})
    looks = [look(number, row) for number in range(len(COLORS) * len(DASHES))]
    assert len({(each["color"], each["dash"]) for each in looks}) == 50


# ---- pages


class Tags(HTMLParser):
    """Are all tags closed, and what do they point to?"""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_page_is_whole_and_needs_nothing_else(compare, write, count: int):
    for number in range(count):
        write(f"run{number}", float(number), config={"optimizer.lr": number / 100})
    assert compare("outputs").code == 0
    text = Path("outputs/compare.html").read_text()
    page = Tags(text)
    assert not page.open
    assert all(target.startswith("data:") for target in page.targets)
    assert not page.names & {"iframe", "object"}
    assert text.count("plotly.js v") == 1
    own = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)  # plotly's own names addresses
    assert "Plotly.react" in own
    assert not re.search(r"https?:|@import|url\((?!#)", own)
    assert len(data_of(text)["rows"]) == own.count('<input type="checkbox" checked>') == count


def data_of(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


def test_the_page_draws_what_was_logged_over_every_axis(compare, write):
    for seed, status in enumerate(("completed", "completed", "failed")):
        write(f"a{seed}", 1.0, seed=seed, status=status)
    assert compare("outputs", "--axis", "images").code == 0
    data = data_of(Path("outputs/compare.html").read_text())
    assert (data["axis"], data["axes"]) == ("images", ["steps", "images", "seconds"])
    (chart,) = [chart for chart in data["charts"] if chart["tag"] == "loss/generator"]
    mean, failed = chart["lines"]
    assert (mean["y"], mean["deviation"], mean["note"]) == ([2.5, 5, 7.5, 10], [0, 0, 0, 0], "mean of 2")
    assert data["grids"][mean["grid"]]["images"] == [1600, 3200, 4800, 6400]
    assert (failed["y"], failed["completed"], failed["note"]) == ([2.5, 5, 7.5, 10], False, "failed")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_grid_is_made_smaller_and_shown_whole(tmp_path: Path, mode: str):
    shape = (660, 660, 3)[: 2 if mode == "L" else 3]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).save(tmp_path / "a.png")
    assert picture("a", tmp_path / "a.png", 1e7).source.startswith("data:image/png")
    found = picture("a", tmp_path / "a.png", 30_000).source
    content = base64.b64decode(found.removeprefix("data:image/webp;base64,"))
    assert len(content) <= 30_000
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.width == shown.height >= 120


@pytest.mark.long
def test_all_pictures_of_a_page_share_their_room(compare, write):
    noise = np.random.default_rng(0).integers(0, 256, (265, 265), np.uint8)
    for number in range(50):
        path = write(f"run{number}", float(number), config={"optimizer.lr": number / 100})
        for step in range(0, 100, 20):
            Image.fromarray(noise).save(path / "samples" / f"step-{step:08d}.png")
    assert compare("outputs").code == 0
    text = Path("outputs/compare.html").read_text()
    assert text.count("<img") == 50 * (1 + 5)
    assert sum(map(len, re.findall(r'src="data:image[^"]*"', text))) < 1.5 * IMAGES


def test_what_a_folder_says_is_text_everywhere(compare, write):
    bad = "<script>alert(1)</script>|\x1b[2J"
    write("a", 1.0, config={"optimizer.kind": bad}, verdicts=[{"name": "x", "kind": "alarm", "sentence": bad}])
    write("b<i>", 2.0, config={"optimizer.kind": "b"})
    answer = compare("outputs")
    assert "\x1b" not in answer.out + Path("outputs/compare.md").read_text() + Path("outputs/compare.html").read_text()
    assert "alert(1)</script>" not in Path("outputs/compare.html").read_text()
    table = [line for line in Path("outputs/compare.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_samples_are_those_of_one_seed_and_a_verdict_stands_below(compare, write):
    verdict = {"name": "collapse", "kind": "alarm", "since": 50, "sentence": "samples collapse; try loss=r3gan"}
    write("a0", 1.0, seed=0, steps=100)
    write("a1", 1.0, seed=1, steps=120)
    write("b1", 2.0, loss="hinge", seed=1, steps=140, verdicts=[verdict])
    write("c2", 3.0, loss="wgan", seed=2, steps=160)
    assert compare("outputs").code == 0
    text = Path("outputs/compare.html").read_text()
    assert re.findall(r"<figcaption>(.*?)</figcaption>", text)[:3] == [
        "gan (step 120)",
        "hinge (step 140)",
        "wgan (step 160, seed 2: other noise)",
    ]
    for page in (text, Path("outputs/compare.md").read_text()):
        assert "samples collapse; try loss=r3gan" in page


def test_a_table_in_a_pipe_is_as_wide_as_its_content(compare, write):
    for number, status in enumerate(("completed", "diverged", "interrupted", "failed")):
        keys = {f"model.generator.setting_{key}": f"{'long' * 9}{number}" for key in "abcdefgh"}
        write(status, number * 1e5, config=keys, status=status)
    out = compare("outputs").out
    assert "no room" not in out
    assert all(f"{'long' * 9}{number}" in out for number in range(4))
    assert not any(line.endswith(" ") for line in out.splitlines())


@pytest.mark.parametrize(("columns", "left"), [(200, 8), (60, 4), (10, 4)])
def test_a_narrow_terminal_shows_fewer_columns_and_names_those_that_are_left_out(columns: int, left: int):
    heads = ["#", "a", "b", "c", "n", "images/s", "peak MB", "device", "status", "against the best"]
    rows = [[str(n), f"{'a' * 20}{n}", "b" * 20, "c" * 20, "1", "2", "3", "cpu", "completed", "best"] for n in (1, 2)]
    shown, cells, sentences = narrowed(heads, rows, 3, columns)
    assert len(shown) == left
    assert {len(row) for row in cells} == {left}
    assert "a" in shown  # it distinguishes the rows
    assert sentences[:2] == ["all: device cpu", "all: status completed"]
    assert len(sentences) == 2 + (columns < 200)


def test_every_run_has_a_line_with_all_its_values(compare, write):
    write("a", 1.5, best=1.0, seed=3)
    write("b", status="diverged", loss="hinge")
    assert compare("outputs", "--out", "elsewhere").code == 0
    one, other = lines_of("elsewhere/compare.csv")
    told = {"status": "completed", "seed": "3", "steps": "100", "best/test/classifier_fid": "1.0", "loss": "gan"}
    told |= {"last/test/classifier_fid": "1.5", "loss/generator": "1.0", "device": "a CPU", "counted": "True"}
    assert told.items() <= one.items()
    assert (other["status"], other["last/test/classifier_fid"], other["counted"]) == ("diverged", "", "False")


def test_the_command_starts_without_heavy_libraries():
    heavy = {"torch", "scipy", "PIL", "hydra", "plotly", "jinja2"}
    code = f"import sys, gan_runner.compare; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- runs that were trained


def test_trained_runs_are_compared_by_what_their_summaries_say(compare, tmp_path: Path, capfd):
    common = (*SMALL, "train.total_steps=4", "train.log_every=1", "train.sample_every=2", "train.evaluate_every=2")
    metric = ("metric=sliced_wasserstein", "metric.n_fake=200", "train.select_by=sliced_wasserstein")
    told: dict[str, list[float]] = {"gan": [], "hinge": []}
    for loss, seed in itertools.product(told, (0, 1)):
        path = tmp_path / "outputs" / "study" / f"{loss}{seed}"
        summary = train_in(path, *common, *metric, f"loss={loss}", f"seed={seed}").read_summary()
        told[loss].append(summary["metrics"]["best"]["test"]["sliced_wasserstein"])
    capfd.readouterr()  # what training said
    answer = compare("outputs", "--tag", "score/gap", "--axis", "seconds")
    assert not answer.err
    assert len(rows(answer)) == 2
    lines = lines_of("outputs/study/compare.csv")
    ranked = [[line["folder"][-6:-1].strip("/y") for line in lines if line["rank"] == rank] for rank in "12"]
    assert ranked == [[loss] * 2 for loss in sorted(told, key=lambda loss: sum(told[loss]))]
    assert sorted(float(line["best/test/sliced_wasserstein"]) for line in lines) == sorted(
        [*told["gan"], *told["hinge"]]
    )
    charts = data_of(Path("outputs/study/compare.html").read_text())["charts"]
    assert [chart["tag"] for chart in charts] == ["score/gap"]


def test_a_column_goes_before_one_that_tells_rows_apart():
    rows = [["1", "gan", "adam", "batch"], ["2", "gan", "adam", "none"], ["3", "wgan", "rmsprop", "none"]]
    assert expendable(rows, settings=3) == 2
    assert expendable([[row[0], row[3], row[1]] for row in rows], settings=2) == 2  # both do: the last
