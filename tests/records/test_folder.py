import copy
import multiprocessing
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_runner.errors import ConfigError
from gan_runner.records.folder import RunFolder
from gan_runner.records.identity import ADDED, chosen_name, config_hash, differences, flatten, folder_name, identity
from tests.conftest import configure

CONFIG = {"seed": 0, "train": {"batch_size": 64, "total_steps": 100}, "loss": {"penalties": {}}, "name": None}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ([], "default"),
        (["seed=1", "loss=wgan_gp"], "loss=wgan_gp,seed=1"),
        (["model.generator.widths=[128,256]"], "model.generator.widths=%5B128,256%5D"),
        (["dataset.path=/home/me/cats"], "dataset.path=%2Fhome%2Fme%2Fcats"),
        (["dataset.path=../cats"], "dataset.path=..%2Fcats"),
        (['x=\'a "b" $c`d'], "x=%27a%20%22b%22%20%24c%60d"),
        (["x=a\nb\0c"], "x=a%0Ab%00c"),
        (["x=50%"], "x=50%25"),
        (["x=猫"], "x=%E7%8C%AB"),
        (["..=1"], "%2E.=1"),
        (["~loss.penalties"], "%7Eloss.penalties"),
    ],
    ids=lambda value: "",
)
def test_the_name_of_a_folder(settings: list[str], name: str):
    assert folder_name(settings) == name


def test_long_names_are_cut_and_told_apart_by_a_hash():
    one, other = (folder_name([f"x={'a' * 300}{end}"]) for end in "bc")
    assert one != other
    assert len(one) == len(other) == 200


@given(st.lists(st.text(min_size=1), max_size=4))
def test_every_name_is_safe(settings: list[str]):
    name = folder_name(settings)
    assert re.fullmatch(r"[A-Za-z0-9=,._+%-]{1,200}", name)
    assert not name.startswith(".")


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_two_settings_never_share_a_name(one: str, other: str):
    if one != other:
        assert folder_name([one]) != folder_name([other])


@pytest.mark.parametrize("name", ["..", "a/b", "/tmp/x", "", ".hidden", "a b", "x" * 201, "a\n"])
def test_a_name_that_was_typed_is_refused_when_it_is_not_safe(name: str):
    with pytest.raises(ConfigError, match="name="):
        chosen_name("name", name)


def test_the_identity_leaves_out_what_does_not_change_the_result():
    longer = {**CONFIG, "train": {**CONFIG["train"], "total_steps": 999}, "name": "other"}
    settings = {key: value for key, value in identity(CONFIG).items() if key not in ADDED}
    assert settings == {"seed": 0, "train.batch_size": 64, "loss.penalties": {}}
    assert config_hash(longer) == config_hash(CONFIG)
    assert config_hash({**CONFIG, "seed": 1}) != config_hash(CONFIG)
    assert config_hash({**CONFIG, "seed": 0.0}) == config_hash(CONFIG)


# What changes nothing in the numbers of a step: how long, how often, where files lie, what is measured.
NO_PART_OF_A_RUN = {
    *("name", "study", "device.kind", "device.data", "device.graphs", "dataset.root", "dataset.cache_dir"),
    *("train.total_steps", "train.total_images", "train.total_seconds", "train.patience", "train.select_by"),
    *("train.schedule_steps", "train.schedule_images", "train.sample_every_images", "train.evaluate_every_images"),
    *("train.log_every", "train.sample_every", "train.checkpoint_every", "train.evaluate_every", "train.grid"),
    *("train.keep_checkpoints", "train.on_divergence", "train.fresh", "train.from_weights"),
}
COMPOSED = {
    "by default": (),
    "faces, a penalty, an augmentation and metrics": (
        *("dataset=celeba", "model=dcgan", "loss=wgan_gp", "augment=ada", "metric=[fid,memorization]"),
    ),
    "points": ("dataset=ring8", "model=toy", "loss=sngan", "optimizer=sgd", "device=cpu", "tracker=wandb"),
    "few labels": ("dataset=mnist", "model=mlp", "loss=semi_supervised", "device=cpu"),
}


@pytest.mark.parametrize("overrides", COMPOSED.values(), ids=COMPOSED)
def test_every_other_setting_is_part_of_the_identity(overrides: tuple[str, ...]):
    config = configure(*overrides)
    before = config_hash(config)
    for key in flatten(config):
        changed = copy.deepcopy(config)
        *groups, last = key.split(".")
        node = changed
        for group in groups:
            node = node[group]
        node[last] = "another value"
        beside = key.split(".")[0] in ("metric", "tracker")
        assert (config_hash(changed) == before) == (beside or key in NO_PART_OF_A_RUN), key


def test_settings_that_change_nothing_are_those_of_a_configuration():
    known = {key for overrides in COMPOSED.values() for key in flatten(configure(*overrides))}
    assert known >= NO_PART_OF_A_RUN


def test_the_order_of_a_file_is_no_part_of_the_identity():
    turned = {key: CONFIG[key] for key in reversed(CONFIG)}
    assert config_hash(turned) == config_hash(CONFIG)


def test_each_differing_key_is_told_with_both_values():
    other = {"seed": 1, "train": {"batch_size": 64.0}, "loss": {"penalties": {"r1": {"weight": 5.0}}}}
    assert differences(CONFIG, other) == [
        "loss.penalties was {}, now absent",
        "loss.penalties.r1.weight was absent, now 5",
        "seed was 0, now 1",
    ]


def test_another_configuration_under_the_same_name_is_refused(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    with folder.claim(CONFIG, fresh=False):
        pass
    with pytest.raises(ConfigError, match=r"seed was 0, now 1.*name=.*train.fresh=true"):
        folder.check_identity({**CONFIG, "seed": 1})
    with folder.claim(CONFIG, fresh=False):
        pass


def test_a_folder_that_lost_its_configuration_is_refused_and_fresh_moves_it_aside(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    (folder.checkpoints / "step-00000001.pt").write_text("")
    with pytest.raises(ConfigError, match=r"config.yaml is missing beside its checkpoints.*train.fresh=true"):
        folder.check_identity(CONFIG)
    with folder.claim(CONFIG, fresh=True):
        assert not folder.checkpoints.exists()
    folder.config.write_text("a: [")
    with pytest.raises(ConfigError, match="is damaged"):
        folder.check_identity(CONFIG)


def test_a_damaged_summary_is_none(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for content in ("", "[]", '{"status": '):
        folder.summary.write_text(content)
        assert folder.read_summary() == {}


def test_a_run_that_says_running_was_killed_unless_a_process_holds_it(tmp_path: Path):
    folder = RunFolder(tmp_path)
    assert folder.status() is None
    folder.write_summary({"status": "running"})
    assert folder.status() == "killed"
    with folder.locked():
        assert folder.status() == "running"
    folder.write_summary({"status": "completed"})
    assert folder.status() == "completed"


def test_fresh_moves_the_old_folder_aside(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    for number in range(3):
        with folder.claim({**CONFIG, "seed": number}, fresh=True):
            (folder.path / "made").write_text(str(number))
    assert (folder.path / "made").read_text() == "2"
    assert [(tmp_path / ".old" / f"run-{n}" / "made").read_text() for n in (1, 2)] == ["0", "1"]


def try_to_claim(path: Path, answers) -> None:
    try:
        with RunFolder(path).claim(CONFIG, fresh=False):
            answers.put("claimed")
    except ConfigError as error:
        answers.put(str(error))


@pytest.mark.long
def test_a_second_process_is_refused_with_the_first_ones_id(tmp_path: Path):
    answers = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=try_to_claim, args=(tmp_path / "run", answers))
    with RunFolder(tmp_path / "run").claim(CONFIG, fresh=False):
        process.start()
        answer = answers.get(timeout=60)
        process.join()
    assert f"in use by process {os.getpid()} on" in answer


def test_after_the_first_process_the_folder_is_free(tmp_path: Path):
    for _ in range(2):
        with RunFolder(tmp_path / "run").claim(CONFIG, fresh=False):
            pass
