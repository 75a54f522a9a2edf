"""The scores of a run, as its summary holds them."""

import math

import pytest

from gan_runner.errors import ConfigError
from gan_runner.records.scores import REPORT, SELECTION, Scores


def test_values_of_one_step_gather_and_those_of_another_step_replace_them():
    scores = Scores()
    scores.record("last", 4, SELECTION, {"fid": 3.0})
    scores.record("last", 4, REPORT, {"fid": 2.0})
    assert scores.of("last") == {"step": 4, SELECTION: {"fid": 3.0}, REPORT: {"fid": 2.0}}
    scores.record("last", 8, SELECTION, {"fid": math.inf})
    assert scores.of("last") == {"step": 8, SELECTION: {"fid": None}}


def test_the_chosen_networks_keep_what_is_known_of_them_until_others_are_chosen():
    scores = Scores()
    scores.choose({"select_by": "fid", "step": 4, SELECTION: {"fid": 3.0}})
    scores.record("best", 4, REPORT, {"fid": 2.0})
    scores.choose({"select_by": "fid", "step": 4, SELECTION: {"fid": 3.0}})
    assert list(scores.selected()) == [("fid", SELECTION, 3.0), ("fid", REPORT, 2.0)]
    assert scores.objective("fid", "here") == 3.0
    scores.choose({"select_by": "fid", "step": 8, SELECTION: {"fid": 1.0}})
    assert list(scores.selected()) == [("fid", SELECTION, 1.0)]
    scores.choose(None)
    assert scores.of("best") == {}
    with pytest.raises(ConfigError, match=r"train\.select_by=fid chose nothing in here"):
        scores.objective("fid", "here")


def test_values_are_added_to_the_networks_of_their_step_unless_the_protocol_is_another():
    scores = Scores({"last": {"step": 4, REPORT: {"fid": 2.0}}, "best": {"step": 2, REPORT: {"fid": 1.0}}})
    scores.stamp(REPORT, {"fid": {"n_fake": 10}})
    left_out = scores.add(4, REPORT, {"fid": 9.0, "kid": 0.5}, {"fid": {"n_fake": 99}, "kid": {"n_fake": 99}})
    assert left_out == ["fid"]
    assert scores.splits("last") == {REPORT: {"fid": 2.0, "kid": 0.5}}
    assert scores.splits("best") == {REPORT: {"fid": 1.0}}
    assert scores.protocol(REPORT, "kid") == {"n_fake": 99}
    assert scores.protocol(REPORT, "fid") == {"n_fake": 10}


def test_protocols_are_reported_once():
    scores = Scores()
    assert scores.stamp(REPORT, {"fid": {"n_fake": 10}})
    assert not scores.stamp(REPORT, {"fid": {"n_fake": 10}})
    assert scores.stamp(SELECTION, {"fid": {"n_fake": 10}})


@pytest.mark.parametrize("stored", [None, 3, "text", [], {"last": 3, "better": [], "protocol": {"test": 1}}])
def test_what_a_damaged_summary_holds_counts_as_absent(stored: object):
    scores = Scores(stored)
    assert scores.of("last") == scores.of("best") == scores.protocol(REPORT, "fid") == {}
    assert scores.value("last", REPORT, "fid") is scores.better("fid") is scores.step("last") is None
    scores.record("last", 1, REPORT, {"fid": 1.0})
    scores.declare({"fid": "low"})
    scores.stamp(REPORT, {"fid": {}})
    assert (scores.value("last", REPORT, "fid"), scores.better("fid")) == (1.0, "low")
