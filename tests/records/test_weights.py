"""The safetensors file of a run: what is written is read, and anything else is one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan_runner.errors import ConfigError
from gan_runner.records.weights import Weights, content_hash, read_weights, write_weights
from gan_runner.spec import ImageSpec

safetensors = pytest.importorskip("safetensors.torch")

SPEC = ImageSpec(1, 8, 8, 3, (-1.0, 1.0), ("a", "b", "ü"))
CONFIG = {"model": {"generator": {"_target_": "gan_runner.model.mlp.MLPGenerator"}}, "seed": 1, "rate": float("inf")}


def weights() -> Weights:
    torch.manual_seed(0)
    networks = {"generator": nn.BatchNorm1d(4).state_dict(), "discriminator": nn.Linear(3, 1).half().state_dict()}
    return Weights(networks, CONFIG, SPEC, 7, "outputs/x")


def test_what_is_written_is_read_and_equal_weights_give_equal_bytes(tmp_path: Path):
    written = weights()
    for name in ("one", "two"):
        write_weights(tmp_path / name, written)
    read = read_weights(tmp_path / "one")
    assert read[1:] == written[1:]
    assert {p: list(state) for p, state in read.networks.items()}.keys() == written.networks.keys()
    for player, state in written.networks.items():
        assert read.networks[player].keys() == state.keys()
        for name, tensor in state.items():
            assert torch.equal(read.networks[player][name], tensor)
            assert read.networks[player][name].dtype == tensor.dtype
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert content_hash(read.networks) == content_hash(written.networks)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 1e-7,
        lambda x: x.reshape(1, -1),
        lambda x: x.double(),
    ],
    ids=["a last digit", "the shape", "the type"],
)
def test_the_hash_depends_on_the_content_of_every_tensor(change: Callable[[Tensor], Tensor]):
    networks = weights().networks
    changed = {**networks, "generator": {**networks["generator"], "bias": change(networks["generator"]["bias"])}}
    assert content_hash(changed) != content_hash(networks)


def header(**changes: object) -> dict[str, str]:
    plain = {"format": 1, "config": CONFIG, "spec": vars(SPEC), "step": 7, "folder": "x"}
    return {"gan_runner": json.dumps({**plain, **changes})}


@pytest.mark.parametrize(
    ("metadata", "tensors", "words"),
    [
        ({"format": "pt"}, {}, "weights of another program"),
        ({"gan_runner": "[1]"}, {}, "damaged header"),
        ({"gan_runner": "{"}, {}, "damaged header"),
        (header(format=9), {}, "format 9"),
        (header(config=[]), {}, "damaged header"),
        (header(spec={"channels": 1}), {}, "damaged header"),
        (header(spec={**vars(SPEC), "height": "8"}), {}, "damaged header"),
        (header(), {"other.weight": torch.zeros(1)}, "'other.weight' of neither player"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_program_or_with_a_damaged_header_is_one_sentence(
    tmp_path: Path, metadata: dict[str, str], tensors: dict[str, Tensor], words: str
):
    safetensors.save_file(tensors, tmp_path / "x", metadata)
    with pytest.raises(ConfigError, match=words) as refusal:
        read_weights(tmp_path / "x")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"PK\x03\x04" * 9], ids=["empty", "noise", "a zip"])
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigError, match="no safetensors file"):
        read_weights(tmp_path / "x")


def test_a_file_that_is_cut_off_is_one_sentence(tmp_path: Path):
    write_weights(tmp_path / "x", weights())
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-4])
    with pytest.raises(ConfigError, match="damaged"):
        read_weights(tmp_path / "x")
    with pytest.raises(ConfigError, match="is no file"):
        read_weights(tmp_path / "absent")
