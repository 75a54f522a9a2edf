"""Torch's settings of the process, which a training changes and a program that trains gets back."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Runs its block, then restores torch's threads, flags and global generator of random numbers on the CPU."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    benchmark, state = torch.backends.cudnn.benchmark, torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(state)
