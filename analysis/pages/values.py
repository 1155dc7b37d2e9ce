"""What every call of a network makes of images: the walk, along real numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from ..walk import INPUT, Call, Recorder


class Values(NamedTuple):
    """The calls of a forward pass, and their tensors by name."""

    calls: list[Call]
    outputs: dict[str, Tensor]  # with the image as INPUT
    operands: dict[str, list[Tensor]]  # tensors that a function reads and that are of no image
    several: set[str]  # calls of several outputs, such as chunk, of which these are the first ones


@torch.no_grad()
def values(model: torch.nn.Module, x: Tensor) -> tuple[Values, Any]:
    """Run the model, which is in evaluation mode, on x, (N, C, H, W); also what it returns."""
    recorder = _ValueRecorder(model, FakeTensorMode())
    recorder.outputs[INPUT] = x.clone()
    with recorder.watch(x):
        output = model(x)
    return Values(recorder.calls, recorder.outputs, recorder.operands, recorder.several), output


class _ValueRecorder(Recorder):
    """A walk that keeps the tensors: copies, for a later layer may work in place."""

    def __init__(self, model: torch.nn.Module, fake: FakeTensorMode) -> None:
        super().__init__(model, fake)
        self.outputs: dict[str, Tensor] = {}
        self.operands: dict[str, list[Tensor]] = {}
        self.several: set[str] = set()

    def note(
        self,
        name: str,
        op: str,
        module: torch.nn.Module | None,
        args: Any,
        kwargs: Mapping[str, Any],
        output: Any,
        parameters: Sequence[str],
    ) -> None:
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        constant = [t for t in read if id(t) not in self.producers]
        super().note(name, op, module, args, kwargs, output, parameters)
        written = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
        with torch._C.DisableTorchFunction():  # or these would be calls, too
            self.operands[self.calls[-1].name] = [t.detach() for t in constant]
            if len(written) > 1:
                self.several.add(self.calls[-1].name)
            if written:
                self.outputs[self.calls[-1].name] = written[0].detach().clone()
