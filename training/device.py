"""Where to compute: any device torch has here, by torch's name for it; and in which layout."""

from __future__ import annotations

import torch

from .errors import UserError
from .processes.distributed import device_name

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def choose_device(name: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """The device of that name, made torch's current one; it computes in `dtype`.

    Args:
        name: as torch.device takes it (cpu, cuda, cuda:1, mps, xpu, ...); or auto, which is the
            accelerator if there is one, else the CPU; of several processes, each has its own.
    Raises:
        UserError: torch knows no such device, this machine does not have it, or it lacks `dtype`.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    name = device_name(name)
    if name == "auto":
        name = str(accelerator or "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"--device {name}: {reason}; this machine has {_available()}") from None
    try:
        torch.zeros(1, device=device).item()  # a number must come back, which meta's do not
    except Exception:  # every backend says in its own way that it is not there
        raise UserError(
            f"--device {name} is not available here: this machine has {_available()}"
        ) from None
    try:
        torch.zeros(1, dtype=dtype, device=device)
    except TypeError:
        raise UserError(
            f"--device {name} does not compute in {str(dtype).removeprefix('torch.')}, which is "
            "needed here: use --device cpu"
        ) from None
    if accelerator is not None and device.type == accelerator.type and device.index is not None:
        torch.accelerator.set_device_index(device.index)  # kernels are launched on the current one
    return device


def choose_memory_format(name: str, device: torch.device) -> str:
    """A key of `MEMORY_FORMATS` for a network and its images.

    "auto" is channels_last on a CPU.  Most networks of our layers then train faster; those of
    torch.nn's take 0.8 (ResNet-20) to 1.2 (VGG-11 with response norm) of the time.  It is the same
    for all layer sets, because dropout draws its masks in the order of memory: only then does a
    seed give the same ones.
    """
    if name == "auto":
        return "channels_last" if device.type == "cpu" else "contiguous"
    return name


def _available() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return "cpu alone"
    count = range(torch.accelerator.device_count())
    return ", ".join(["cpu", *(f"{accelerator.type}:{index}" for index in count)])
