"""One layer judged by its twin: the same parameters, the same input, float64 as the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import accuracy, diagnosis
from .setting import Setting
from .subject import Arguments, Constructor, told

PASS, DIFFERS, MISSING, UNDEFINED = "pass", "differs", "not supported", "undefined"


@dataclass
class Trial:
    """The layer tried once: with some arguments, on some input."""

    what: str
    verdict: str = PASS
    note: str = ""  # why not
    errors: dict[str, float] = field(default_factory=dict)  # by tensor
    theirs: dict[str, float] = field(default_factory=dict)  # the twin's own, in this precision
    reasons: list[str] = field(default_factory=list)  # a sentence for each tensor that is wrong

    def missing(self, note: str) -> Trial:
        self.verdict, self.note = MISSING, note
        return self

    def differs(self, reason: str) -> Trial:
        self.verdict = DIFFERS
        self.reasons.append(reason)
        return self


@dataclass(frozen=True)
class Judge:
    """Compares a layer with its twin, in float64, given the same parameters."""

    layer: Constructor
    twin: Constructor
    shape: tuple[int, ...]
    setting: Setting

    @property
    def tolerance(self) -> float:
        return accuracy.LAYER[self.setting.dtype]

    def pair(self, arguments: Arguments) -> tuple[torch.nn.Module, torch.nn.Module]:
        """The layer and its twin with its parameters.

        Raises:
            RuntimeError: the two have parameters of other names or shapes.
        """
        mine, twin = arguments.build(self.layer), arguments.build(self.twin)
        twin.load_state_dict(mine.state_dict())
        return self.setting.place(mine), self.setting.place(twin)

    def input(self, arguments: dict[str, Any]) -> Tensor:
        """Random images, with as many channels as the arguments say."""
        size = list(self.shape)
        size[1] = arguments.get("in_channels", size[1])
        return self.setting.numbers(size, seed=0)

    def try_option(self, arguments: Arguments, changes: dict[str, Any]) -> Trial | None:
        """With other arguments; None if the twin cannot do it either."""
        trial = Trial(", ".join(f"{name}={value!r}" for name, value in changes.items()))
        changed = arguments.replaced(changes, self.twin)
        x = self.input(changes)
        try:
            changed.build(self.twin)(x.float().cpu())
        except (RuntimeError, ValueError, TypeError):
            return None
        try:
            mine, twin = self.pair(changed)
        except Exception as error:
            return trial.missing(told(error))
        return self.try_input(trial, mine, twin, x)

    def try_input(
        self, trial: Trial, mine: torch.nn.Module, twin: torch.nn.Module, x: Tensor
    ) -> Trial:
        """Output, gradients, and buffers such as running averages."""
        x = x.detach().requires_grad_()
        try:
            self.setting.place(mine)(x)
        except Exception as error:
            return trial.missing(told(error))
        mine, twin = self.setting.place(mine), self.setting.place(twin)
        exact, doubled = self.setting.place(twin).double(), accuracy.doubled([x])
        expected = accuracy.derivatives(exact, doubled, self.setting)
        if not all(values is None or values.isfinite().all() for values in expected.values()):
            trial.verdict, trial.note = UNDEFINED, "its twin gives NaN or infinity here"
            return trial
        try:
            found = accuracy.derivatives(mine, [x], self.setting)
        except Exception as error:
            return trial.differs(f"its backward pass raises {told(error)}")
        trial.errors = accuracy.errors(found, expected)
        trial.theirs = accuracy.errors(accuracy.derivatives(twin, [x], self.setting), expected)
        buffers = dict(mine.named_buffers())
        for name, value in exact.named_buffers():
            trial.errors[name] = accuracy.error(buffers[name], value)
        wrong = {name for name, e in trial.errors.items() if not e <= self.tolerance}
        if "output" in wrong:
            y, correct = found["output"], expected["output"]
            assert y is not None
            assert correct is not None
            reason = diagnosis.of_output(y, correct, exact, doubled[0], self.tolerance)
            return trial.differs(f"its output: {reason}")
        for name in (name for name in expected if name in wrong):
            right = expected[name]
            assert right is not None
            reason = diagnosis.of_numbers(found[name], right, len(x), self.tolerance)
            trial.differs(f"its gradient by {name}: {reason}")
        for name in wrong - set(expected):
            trial.differs(f"its buffer {name} is wrong after a training step")
        return trial

    def try_second(self, mine: torch.nn.Module, twin: torch.nn.Module, x: Tensor) -> Trial:
        """Derivatives of the gradients, of two images."""
        trial = Trial("second derivatives")
        mine, exact = self.setting.place(mine), self.setting.place(twin).double()
        x = x[:2].detach().requires_grad_()
        try:
            found = accuracy.second_derivatives(mine, [x], self.setting)
        except Exception as error:
            return trial.missing(told(error))
        expected = accuracy.second_derivatives(exact, accuracy.doubled([x]), self.setting)
        trial.errors = accuracy.errors(found, expected)
        for name, e in trial.errors.items():
            if not e <= self.tolerance:
                reason = diagnosis.of_numbers(found[name], expected[name], 1, self.tolerance)
                trial.differs(f"its second derivative by {name}: {reason}")
        return trial

    def overlap_is_to_blame(self, arguments: Arguments, twin: torch.nn.Module) -> bool:
        """Whether the gradient by the input is right once no two windows share a pixel."""
        size = getattr(twin, "kernel_size", None)
        if size is None:
            return False
        if not isinstance(size, int) and len({*size}) == 1:
            size = size[0]  # as everybody understands it
        apart = self.try_option(arguments, {"stride": size, "padding": 0})
        return apart is not None and apart.errors.get("input", 1.0) <= self.tolerance
