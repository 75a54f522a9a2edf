"""Checks for divergence: values that are not finite."""

import math
from collections.abc import Mapping, Sequence

from torch.nn.utils import get_total_norm

from gan_runner.errors import Diverged
from gan_runner.game.player import Player


def check_finite(values: Mapping[str, float], step: int, saved: int | None, scaled: bool) -> None:
    """Raises Diverged for the first value that is not finite.

    saved: the step of the newest checkpoint. scaled: fp16, where the gradient scaler handles overflows of gradients.
    """
    for tag, value in values.items():
        if not math.isfinite(value) and not (scaled and tag.startswith("grad_norm/")):
            kept = "no checkpoint was written yet" if saved is None else f"checkpoint {saved} is kept"
            raise Diverged(
                f"training diverged: {tag} is {value} at step {step}; {kept}. "
                f"Try a lower optimizer.lr, or a loss with a penalty."
            )


def weight_norms(players: Sequence[Player]) -> dict[str, float]:
    """Returns the norm of each player's weights, by its description in an error message."""
    return {
        f"the norm of the {player.name}'s weights": float(get_total_norm(list(player.network.parameters())))
        for player in players
    }
