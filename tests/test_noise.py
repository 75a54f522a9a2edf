import torch
from torch.testing import assert_close

from gan_runner.noise import Noise, seed_of

CPU = torch.device("cpu")


def test_parts_together_are_the_whole_draw():
    whole = Noise((0, "z", 3), 12, CPU)
    assert_close(torch.cat([part.normal(5) for part in whole.split(3)]), whole.normal(5), rtol=0, atol=0)
    assert_close(torch.cat([part.uniform(1, 1) for part in whole.split(4)]), whole.uniform(1, 1), rtol=0, atol=0)


def test_one_key_gives_one_draw_and_every_other_key_another():
    keys = [(seed, purpose, step) for seed in (0, 1) for purpose in ("a", "b") for step in (0, 1)]
    draws = [Noise(key, 4, CPU).normal(3) for key in keys]
    assert torch.equal(draws[0], Noise(keys[0], 4, CPU).normal(3))
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(keys)
    assert not torch.equal(Noise((0,), 4, CPU).scoped("x").normal(3), Noise((0,), 4, CPU).scoped("y").normal(3))


def test_a_scope_adds_to_the_key_and_its_order_counts():
    """Another step, another purpose, and the same names in another order are other draws."""
    scoped = [
        Noise((0, "d", 1), 4, CPU).scoped("a").scoped("b"),
        Noise((0, "d", 1), 4, CPU).scoped("b").scoped("a"),
        Noise((0, "d", 2), 4, CPU).scoped("a").scoped("b"),
        Noise((0, "g", 1), 4, CPU).scoped("a").scoped("b"),
        Noise((1, "d", 0), 4, CPU).scoped("a").scoped("b"),
        Noise((0, "d", 1), 4, CPU).scoped("ab"),
        Noise((0, "d", 1), 4, CPU),
    ]
    assert len({tuple(noise.uniform(3).flatten().tolist()) for noise in scoped}) == len(scoped)


def test_seeds_of_nearby_steps_do_not_share_their_low_bits():
    """torch's CPU generator reads the low 32 bits alone."""
    low = {seed_of(seed, "z", step) % 2**32 for seed in range(10) for step in range(1000)}
    assert len(low) >= 10_000 - 5


def test_the_two_distributions_are_what_they_say():
    noise = Noise((0,), 20_000, CPU)
    normal, uniform = noise.normal(2), noise.uniform(2)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
