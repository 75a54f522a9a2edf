"""The device of a run, with its precision, memory format, compilation and determinism."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
from contextlib import AbstractContextManager

import torch
from torch import nn

from gan_runner.distributed.ranks import ALONE, Ranks
from gan_runner.errors import ConfigError, choose, require
from gan_runner.nn.sync_norm import synchronise
from gan_runner.noise import seed_of
from gan_runner.spec import KEPT

DTYPES = {"auto": None, "fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
KINDS = {"auto": None, "cpu": False, "cuda": True}

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # constants of glibc's malloc.h
KEPT_BYTES = 2**30
MANY_OPERATIONS = 1e9  # operations of a step from which several threads are faster than one


class Device:
    """The device of a run.

    kind: auto, cpu or cuda; auto is CUDA if it is available, else the CPU.
    precision: fp32, tf32, bf16 or fp16; auto is bf16 on CUDA, or fp16 if the GPU has no bf16, and fp32 on a CPU.
    penalty_precision: fp32 takes gradient penalties out of autocast; auto does so under fp16 only.
    compile: whether torch.compile compiles both networks.
    channels_last: the memory format of convolutions; auto: on a GPU in every precision but fp32.
    deterministic: whether only algorithms with repeatable results are used, which may be slower.
    graphs: whether updates are replayed as CUDA graphs (see game/graphs.py); auto: on CUDA, where nothing forbids it.
    The results are the same.
    data: where the images are kept during training: resident in the memory of the device, mapped where they are, or
    prefetched by a thread; auto chooses by the free memory. The results are the same.
    sync_batch_norm: batch norms use the statistics of all ranks together, not those of each rank's share.
    """

    gpu_only: tuple[str, ...] = ("tf32", "fp16")
    graphed: tuple[str, ...] = ("cuda",)  # kinds of devices that support graphs

    def __init__(
        self,
        kind: str = "auto",
        precision: str = "auto",
        penalty_precision: str = "auto",
        compile: bool = False,
        channels_last: bool | str = "auto",
        deterministic: bool = False,
        data: str = "auto",
        graphs: bool | str = "auto",
        sync_batch_norm: bool = False,
        ranks: Ranks = ALONE,
    ):
        choose("precision", precision, DTYPES)
        choose("data", data, KEPT)
        choose("penalty_precision", penalty_precision, {"auto": None, "fp32": None})
        usable = torch.cuda.is_available()
        cuda = choose("kind", kind, KINDS)
        require(usable or not cuda, "kind=cuda, but this machine has no usable CUDA GPU; use device=auto or device=cpu")
        self.ranks = ranks
        self.threads = 1  # the limit on a CPU until `choose_threads` knows the operations of a step
        self.torch = torch.device("cuda", ranks.local) if cuda or (cuda is None and usable) else torch.device("cpu")
        require(
            self.torch.type == "cpu" or ranks.count == 1 or ranks.local < torch.cuda.device_count(),
            f"kind={kind}, but torchrun started more ranks here than the machine has GPUs "
            f"({torch.cuda.device_count()}); use --nproc_per_node={torch.cuda.device_count()}",
        )
        self.precision = self.best_precision() if precision == "auto" else precision
        require(
            self.torch.type == "cuda" or self.precision not in self.gpu_only,
            f"precision={precision} needs a CUDA GPU; on a CPU use fp32 or bf16",
        )
        self.penalty_precision = penalty_precision
        require(channels_last in (True, False, "auto"), f"channels_last={channels_last} is none of auto, true, false")
        self.channels_last = self.best_format() if channels_last == "auto" else bool(channels_last)
        self.compile, self.deterministic = compile, deterministic
        self.data, self.sync_batch_norm = data, sync_batch_norm
        require(graphs in (True, False, "auto"), f"graphs={graphs} is none of auto, true, false")
        require(
            graphs is not True or self.torch.type in self.graphed,
            "graphs=true needs a CUDA GPU; on a CPU use auto",
        )
        self.graphs = graphs

    def best_precision(self) -> str:
        if self.torch.type == "cpu":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"

    def best_format(self) -> bool:
        """Whether channels_last is the faster format: where the matrix units of a GPU compute the convolutions."""
        return self.torch.type == "cuda" and self.precision != "fp32"

    def configure(self) -> None:
        """Sets torch's settings of the process, all of them, so that they do not depend on earlier code."""
        tf32 = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not self.deterministic
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        if self.torch.type == "cuda":
            torch.cuda.set_device(self.torch)
            torch.cuda.reset_peak_memory_stats(self.torch)
        else:
            keep_freed_memory()
            limit_threads(self.threads)

    def choose_threads(self, operations: float, recorded: int | None = None) -> None:
        """Sets the threads on a CPU. operations: those of a step; recorded: earlier threads, for the same last bits."""
        if self.torch.type == "cpu" and self.ranks.count == 1:  # several ranks have divided the cores already
            self.threads = recorded or (1 if operations < MANY_OPERATIONS else sys.maxsize)
            limit_threads(self.threads)

    def place(self, module: nn.Module) -> None:
        """Moves a network to this device, in place. Compilation changes neither `forward` nor the state dict."""
        if self.sync_batch_norm and self.ranks.count > 1:
            synchronise(module)
        module.to(self.torch)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        if self.compile:
            module.compile()

    def autocast(self) -> AbstractContextManager[object]:
        dtype = DTYPES[self.precision]
        return torch.autocast(self.torch.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()

    def penalty_autocast(self) -> AbstractContextManager[object]:
        """The context of a penalty inside autocast(): off for fp16, whose double backward loses small gradients."""
        if self.precision == "fp16" or self.penalty_precision == "fp32":
            return torch.autocast(self.torch.type, enabled=False)
        return contextlib.nullcontext()

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.torch.type, enabled=self.precision == "fp16")

    def seed(self, *key: int | str) -> None:
        """Seeds torch's global generators, which initialisation and the dropout of a network use."""
        number = seed_of(*key)
        torch.default_generator.manual_seed(number)
        if self.torch.type == "cuda":
            torch.cuda.manual_seed(number)

    def peak_memory_mb(self) -> float:
        """Returns the peak of GPU memory since `configure`; on a CPU, that of the whole process since its start."""
        if self.torch.type == "cuda":
            return torch.cuda.max_memory_allocated(self.torch) / 2**20
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

    def require_memory(self, what: str, size: int) -> None:
        """ConfigError if `size`, the bytes that `what` needs, exceeds the total memory; allocates nothing."""
        there = self.total_memory()
        if size > there:
            raise ConfigError(
                f"{what} takes {size / 1e9:,.1f} GB of memory, and there are {there / 1e9:,.1f}: use less."
            )

    def total_memory(self) -> int:
        """Returns the bytes of memory of the GPU, or of the machine."""
        return torch.cuda.mem_get_info(self.torch)[1] if self.torch.type == "cuda" else ram()

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.torch) if self.torch.type == "cuda" else processor_name()


def keep_freed_memory() -> None:
    """Makes malloc keep freed memory in the process, for buffers of up to a gigabyte.

    By default glibc returns each large buffer of a step to the system, and obtains it again page by page.
    """
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        adjust = ctypes.CDLL(None).mallopt
        for setting in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            adjust(setting, KEPT_BYTES)


def limit_threads(most: int) -> None:
    """Limits torch to `most` threads and to the cores of this process, unless the user set OMP_NUM_THREADS.

    By default torch uses all cores of the machine.
    """
    from joblib import cpu_count  # respects CPU affinity and the quotas of cgroups

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(most, cpu_count()))


def ram() -> int:
    """Returns the bytes of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def processor_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
