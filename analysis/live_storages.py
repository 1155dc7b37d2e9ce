"""Which storages are alive at which moment of a run on fake tensors.

A fake tensor has a shape, strides, a dtype and a device, but no memory.  Its storages come and go
as those of real tensors do, in the same order, so they can be counted where nothing is computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Hashable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layers.interop.dry_run import dry_run
from layers.ops.dtypes import HALF_PRECISION
from layers.ops.registry import OPERATORS, choose

Serial = int  # of a storage: addresses are used again
INSIDE = -1  # what operators of ours allocate and free before they return
NORMS = "batch_norm", "local_response_norm"  # whose loops copy half precision to float32 alone


class LiveStorages(TorchDispatchMode):
    """Records when the storages that operations make inside the block come and go.

    An operator of ours is a single operation to torch.  What its kernel allocates on the way, or
    its definition, is found by a dry run, once for each kind of call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[Serial, int]] = []  # bytes: positive come, negative go
        self.workspace: dict[str, Any] = {}  # what kernels keep from call to call
        self._serials: dict[int, Serial] = {}  # of the storages alive, by address
        self._inside: dict[Hashable, int] = {}  # by a kind of call

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        outputs = operation(*args, **(kwargs or {}))
        self.add(outputs)
        if operation.namespace == "convnets":
            key = operation, *map(_kind, args)
            if key not in self._inside:
                self._inside[key] = self._dry_run(operation.__name__.split(".")[0], args, outputs)
            self.events += (INSIDE, self._inside[key]), (INSIDE, -self._inside[key])
        return outputs

    def add(self, tensors: Any) -> set[Serial]:
        """The storages of tensors, in any structure; new ones are alive from now on."""
        return {self._serial(t) for t in tree_leaves(tensors) if isinstance(t, Tensor)}

    def alive(self) -> set[Serial]:
        return {*self._serials.values()}

    def peak(self, without: Collection[Serial] = ()) -> dict[Serial, int]:
        """The bytes of each storage alive when they are most."""
        total = largest = length = 0
        for number, (serial, size) in enumerate(self.events, 1):
            total += 0 if serial in without else size
            if total > largest:
                largest, length = total, number
        alive: dict[Serial, int] = {}
        for serial, size in self.events[:length]:
            if serial not in without:
                alive[serial] = alive.get(serial, 0) + size
        return alive

    def _serial(self, tensor: Tensor) -> Serial:
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address not in self._serials:
            self._serials[address] = len(self.events)
            self.events.append((len(self.events), size))
            weakref.finalize(storage, self._freed, address, size).atexit = False
        return self._serials[address]

    def _freed(self, address: int, size: int) -> None:
        self.events.append((self._serials.pop(address), -size))

    def _dry_run(self, name: str, args: tuple, outputs: Any) -> int:
        """Bytes that a call takes at its peak, beyond its outputs and what kernels keep."""
        if name.startswith(NORMS) and args[-1]:
            kernel = choose(name, [*args[:-1]])
            if kernel is not None and kernel.name == "loops":
                volumes = [t for t in tree_leaves([args, outputs]) if isinstance(t, Tensor)]
                return sum(4 * t.numel() for t in volumes if t.dtype in HALF_PRECISION)
        inner = LiveStorages()
        given = inner.add([args, self.workspace])
        with inner, dry_run(self.workspace):
            results = OPERATORS[name].compute(*args)
        given |= inner.add([results, self.workspace])
        return sum(inner.peak(without=given).values())


def _kind(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.stride()
    return tuple(value) if isinstance(value, list) else value
