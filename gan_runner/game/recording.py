"""Records the forward and backward of one update as a CUDA graph, and replays it on other images and noise.

The inputs of an update (images and random numbers) are copied to the same memory each time, and its results (gradient
and statistics) are in the same memory afterwards. No Python runs in a replay.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gan_runner.game.player import Accumulate, Player
from gan_runner.nn.modes import restoring_buffers
from gan_runner.noise import Draw, Noise
from gan_runner.protocols import Stats

T = TypeVar("T")
REHEARSALS = 3  # eager runs before a recording: cuDNN selects algorithms, libraries allocate (torch's notes on graphs)
TOLERANCE = 1e-2  # relative, replay against eager run; another summation order stays far below, other noise far above


# ---- the fixed buffers that replace an update's own images and noise


class Tape:
    """The buffers for the random draws of an update, by scope, distribution and shape."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[tuple[int | str, ...], Draw, tuple[int, ...]], Tensor] = {}
        self.complete = False

    def finish(self) -> None:
        """Forbids new draws from now on."""
        self.complete = True

    def play(self, noise: Noise) -> None:
        """Fills all buffers with new draws, from the key of another update."""
        for (scope, draw, shape), buffer in self.buffers.items():
            replace(noise, key=(*noise.key, *scope)).drawn(draw, shape, out=buffer)


@dataclass(frozen=True)
class Taped(Noise):
    """Noise whose draws are stored in the buffers of a tape."""

    tape: Tape = field(default_factory=Tape)
    depth: int = 0  # length of the update's own key; the entries after it are the scope

    def drawn(self, draw: Draw, shape: tuple[int, ...], out: Tensor | None = None) -> Tensor:
        known = (self.key[self.depth :], draw, shape)
        if known not in self.tape.buffers:
            if self.tape.complete:
                raise RuntimeError(f"an update draws {'.'.join(map(str, known[0]))} at times only")
            self.tape.buffers[known] = super().drawn(draw, shape, out)
        return self.tape.buffers[known]


def leaves(thing: Any) -> Iterator[Any]:
    """Yields all values except None in nested tuples and lists (tensors and noises), in order."""
    if isinstance(thing, tuple | list):
        for item in thing:
            yield from leaves(item)
    elif thing is not None:
        yield thing


def stand_in(thing: Any, tape: Tape) -> Any:
    """Returns a copy of a nested structure, with its tensors cloned and its noise connected to the tape."""
    if isinstance(thing, Tensor):
        return thing.clone()
    if isinstance(thing, Noise):
        fields = {name: getattr(thing, name) for name in thing.__dataclass_fields__}
        return Taped(**fields, tape=tape, depth=len(thing.key))
    if isinstance(thing, tuple | list):
        items = [stand_in(item, tape) for item in thing]
        return type(thing)(*items) if hasattr(thing, "_fields") else type(thing)(items)
    return thing


# ---- recording


class Recorder(Protocol):
    """Records a function and replays it. (The tests have an implementation without a GPU.)"""

    def rehearse(self, function: Callable[[], T]) -> T:
        """Returns function(), called under the same conditions as in a recording."""

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Records function(). Returns its results, without valid values yet, and a replay function that fills them."""


class CudaRecorder:
    """Records CUDA graphs on a separate stream.

    Its graphs share one memory pool: the results of a replay must be used before the next graph is replayed.
    """

    def __init__(self) -> None:
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def rehearse(self, function: Callable[[], T]) -> T:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream), torch.autograd.set_multithreading_enabled(False):
            result = function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the prefetching thread may pin memory during the recording
        recording = torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local")
        try:
            with torch.autograd.set_multithreading_enabled(False), recording:
                result = function()
        except RuntimeError:
            forget_recording()
            raise
        return result, graph.replay


def forget_recording() -> None:
    """Resets torch's CUDA generator (used by dropout), which stays in recording mode after a failed recording."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(torch.Generator("cuda").graphsafe_get_state())


class Left(NamedTuple):
    """The results of an update."""

    tags: tuple[str, ...]
    values: Tensor  # (tags,) float32
    gradients: list[Tensor | None]  # one for each trainable parameter

    def copied(self) -> "Left":
        return Left(self.tags, self.values.clone(), [g if g is None else g.clone() for g in self.gradients])

    @property
    def gradient(self) -> Tensor:
        return torch.cat([g.flatten().float() for g in self.gradients if g is not None])


class Update:
    """The recorded gradient computation of one player, for one set of kernels; its images and noise vary."""

    def __init__(self, recorder: Recorder, player: Player, networks: Sequence[nn.Module]):
        self.recorder, self.player, self.networks = recorder, player, networks
        self.tape = Tape()

    def record(self, accumulate: Accumulate, parts: Sequence[Any], reseed: Callable[[], None]) -> None:
        """Records the update; does not change the networks. RuntimeError if a replay differs from the eager result."""
        self.parts = stand_in(parts, self.tape)
        compute = partial(self.compute, accumulate)
        for _ in range(REHEARSALS):
            expected = self.tried(reseed, lambda: self.recorder.rehearse(compute).copied())
        self.tape.finish()
        reseed()
        with self.restoring_buffers():
            self.left, self.launch = self.recorder.record(compute)
        found = self.tried(reseed, self.relaunched)
        for one, other in ((expected.values, found.values), (expected.gradient, found.gradient)):
            if not alike(one, other):
                raise RuntimeError("its replay gives other numbers than the update itself")

    def compute(self, accumulate: Accumulate) -> Left:
        """Computes the update into new gradients: without a `.grad`, backward allocates the memory of the replays."""
        self.clear()
        stats = accumulate(self.parts)
        values = torch.stack([value.float() for value in stats.values()])
        return Left(tuple(stats), values, [parameter.grad for parameter in self.player.trainable])

    def clear(self) -> None:
        for parameter in self.player.trainable:
            parameter.grad = None

    def tried(self, reseed: Callable[[], None], trial: Callable[[], T]) -> T:
        reseed()
        with self.restoring_buffers():
            return trial()

    @contextmanager
    def restoring_buffers(self) -> Iterator[None]:
        with ExitStack() as stack:
            for network in self.networks:
                stack.enter_context(restoring_buffers(network))
            yield

    def relaunched(self) -> Left:
        self.launch()
        return self.left.copied()

    def replay(self, parts: Sequence[Any]) -> Stats:
        """Computes the gradient of these parts into `.grad`. Returns copies of the statistics."""
        for own, given in zip(leaves(self.parts), leaves(parts), strict=True):
            if isinstance(own, Tensor):
                own.copy_(given, non_blocking=True)
            else:
                noise = given
        self.tape.play(noise)
        self.launch()
        for parameter, gradient in zip(self.player.trainable, self.left.gradients, strict=True):
            parameter.grad = gradient
        return dict(zip(self.left.tags, self.left.values.clone().unbind(), strict=True))


def alike(one: Tensor, other: Tensor) -> bool:
    """Returns True if two vectors are equal up to TOLERANCE, with non-finite values in the same places."""
    finite = one.isfinite()
    gap, size = (one - other)[finite].norm(), one[finite].norm()
    return bool((finite == other.isfinite()).all() and gap <= TOLERANCE * size)
