import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.device import Device
from gan_runner.game.player import Player
from gan_runner.schedule import Progress, Schedule

NOW = Progress(0, 100)
X = torch.tensor([[1.0], [2.0], [3.0], [4.0]])


def player(lr: float = 0.1, schedule: Schedule | None = None) -> Player:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    return Player("generator", network, optimizer, schedule or Schedule(), Device("cpu"))


def update(one: Player, *arguments) -> dict[str, Tensor]:
    stats = one.gradient(*arguments)
    one.move()
    return stats


def terms_of(network: nn.Module):
    def terms(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = network(x).square().mean()
        return loss, {"loss/generator": loss.detach()}

    return terms


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_an_update_is_one_gradient_step_on_the_mean_over_the_parts(parts: int):
    """d/dw mean (w x)^2 = 2 w mean x^2 = 15 at w = 1; the step is -0.1 * 15."""
    one = player()
    stats = update(one, terms_of(one.network), X.chunk(parts), NOW, ("a",))
    assert one.network.weight.item() == pytest.approx(1 - 0.1 * 15)
    assert stats["loss/generator"].item() == pytest.approx(7.5)
    assert stats["grad_norm/generator"].item() == pytest.approx(15)


def test_a_player_is_frozen_except_while_it_moves():
    one, seen = player(), []
    assert not one.network.weight.requires_grad

    def terms(x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(one.network.weight.requires_grad)
        return terms_of(one.network)(x)

    update(one, terms, [X], NOW, ("a",))
    assert seen == [True]
    assert not one.network.weight.requires_grad
    assert one.network.weight.grad is None


def test_what_the_user_froze_stays_frozen():
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].requires_grad_(False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    one = Player("generator", network, optimizer, Schedule(), Device("cpu"))
    before = network[0].weight.clone()
    update(one, terms_of(network), [X], NOW, ("a",))
    assert torch.equal(network[0].weight, before)


def test_the_learning_rate_follows_the_schedule():
    one = player(lr=0.5, schedule=Schedule(shape="linear"))
    for step, rate in ((0, 0.5), (50, 0.25), (100, 0.0)):
        update(one, terms_of(one.network), [X], Progress(step, 100), ("a",))
        assert one.rate == pytest.approx(rate)


def test_state_goes_over_to_another_player_whole():
    one, other = player(), player()
    one.optimizer = torch.optim.Adam(one.network.parameters(), lr=0.1)
    other.optimizer = torch.optim.Adam(other.network.parameters(), lr=0.1)
    update(one, terms_of(one.network), [X], NOW, ("a",))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        update(each, terms_of(each.network), [X], NOW, ("a",))
    assert_close(one.network.weight, other.network.weight, rtol=0, atol=0)
