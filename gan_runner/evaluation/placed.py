"""A generator on a device and in a precision of its own, used as if it were on the CPU."""

import torch
from torch import Tensor, nn

from gan_runner.device import Device
from gan_runner.distributed.ranks import Ranks
from gan_runner.spec import full_precision


class Placed(nn.Module):
    """z (B, Z) and labels (B,) on the CPU -> images (B, C, H, W) float32 on the CPU.

    The noise is drawn on the CPU, so that a seed means the same images on every device, up to rounding.
    """

    def __init__(self, network: nn.Module, device: Device):
        super().__init__()
        self.network, self.device = network, device
        self.conditional = bool(getattr(network, "conditional", False))
        device.place(network)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        there = self.device.torch
        with self.device.autocast():
            images: Tensor = self.network(z.to(there), None if labels is None else labels.to(there))
        return full_precision(images).cpu()


def placed(network: nn.Module, device: Device) -> nn.Module:
    """Returns the network as it is for float32 on the CPU, else on the device."""
    plain = device.torch.type == "cpu" and device.precision == "fp32" and not device.channels_last
    return network if plain else Placed(network, device)


def device_of(kind: str, precision: str) -> Device:
    """Returns the device for --device (auto, cpu, cuda or cuda:N) and --precision, with repeatable results.

    ValueError if this machine lacks it.
    """
    name, colon, number = kind.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name not in ("auto", "cpu", "cuda") or (colon and not (name == "cuda" and number.isdecimal())):
        raise ValueError(f"device={kind} should be auto, cpu, cuda or cuda:N")
    if name == "cuda" and int(number or 0) >= gpus:
        there = f"GPUs 0 to {gpus - 1}" if gpus else "no usable CUDA GPU"
        raise ValueError(f"device={kind}, but this machine has {there}; use --device auto or cpu")
    return Device(name, precision, deterministic=True, ranks=Ranks(int(number or 0)))
