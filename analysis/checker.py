"""Checks one layer against its twin: the same parameters and input, float64 as the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import accuracy, diagnosis
from .benchmark_config import BenchmarkConfig
from .check_target import Arguments, Constructor, first_line

PASS, DIFFERS, UNSUPPORTED, UNDEFINED = "pass", "differs", "not supported", "undefined"


@dataclass
class CheckResult:
    """The outcome for one set of constructor arguments and one input."""

    name: str
    verdict: str = PASS
    note: str = ""  # why a layer is unsupported or its result undefined
    errors: dict[str, float] = field(default_factory=dict)  # of the layer, by tensor
    twin_errors: dict[str, float] = field(default_factory=dict)  # of the twin in the same dtype
    reasons: list[str] = field(default_factory=list)  # one sentence for each wrong tensor

    def mark_unsupported(self, note: str) -> CheckResult:
        self.verdict, self.note = UNSUPPORTED, note
        return self

    def mark_wrong(self, reason: str) -> CheckResult:
        self.verdict = DIFFERS
        self.reasons.append(reason)
        return self


@dataclass(frozen=True)
class Checker:
    """Compares a layer with its twin in float64, both with the same parameters."""

    layer: Constructor
    twin: Constructor
    shape: tuple[int, ...]
    config: BenchmarkConfig

    @property
    def tolerance(self) -> float:
        return accuracy.LAYER_TOLERANCE[self.config.dtype]

    def build_pair(self, arguments: Arguments) -> tuple[torch.nn.Module, torch.nn.Module]:
        """The layer, and its twin with the layer's parameters.

        Raises:
            RuntimeError: their parameters differ in names or shapes.
        """
        layer, twin = arguments.build(self.layer), arguments.build(self.twin)
        twin.load_state_dict(layer.state_dict())
        return self.config.prepare(layer), self.config.prepare(twin)

    def random_input(self, arguments: dict[str, Any]) -> Tensor:
        """Random images of `shape`, with `in_channels` channels if the arguments name them."""
        size = list(self.shape)
        size[1] = arguments.get("in_channels", size[1])
        return self.config.randn(size, seed=0)

    def check_option(self, arguments: Arguments, changes: dict[str, Any]) -> CheckResult | None:
        """Check with some arguments changed; None if the twin does not support them either."""
        result = CheckResult(", ".join(f"{name}={value!r}" for name, value in changes.items()))
        changed = arguments.replaced(changes, self.twin)
        x = self.random_input(changes)
        try:
            changed.build(self.twin)(x.float().cpu())
        except (RuntimeError, ValueError, TypeError):
            return None
        try:
            layer, twin = self.build_pair(changed)
        except Exception as error:
            return result.mark_unsupported(first_line(error))
        return self.check_input(result, layer, twin, x)

    def check_input(
        self, result: CheckResult, layer: torch.nn.Module, twin: torch.nn.Module, x: Tensor
    ) -> CheckResult:
        """Check the output, the gradients, and buffers such as running averages."""
        x = x.detach().requires_grad_()
        try:
            self.config.prepare(layer)(x)
        except Exception as error:
            return result.mark_unsupported(first_line(error))
        layer, twin = self.config.prepare(layer), self.config.prepare(twin)
        exact, exact_input = self.config.prepare(twin).double(), accuracy.to_float64([x])
        expected = accuracy.derivatives(exact, exact_input, self.config)
        if not all(values is None or values.isfinite().all() for values in expected.values()):
            result.verdict, result.note = UNDEFINED, "its twin gives NaN or infinity here"
            return result
        try:
            found = accuracy.derivatives(layer, [x], self.config)
        except Exception as error:
            return result.mark_wrong(f"its backward pass raises {first_line(error)}")
        result.errors = accuracy.errors(found, expected)
        by_twin = accuracy.derivatives(twin, [x], self.config)
        result.twin_errors = accuracy.errors(by_twin, expected)
        buffers = dict(layer.named_buffers())
        for name, value in exact.named_buffers():
            result.errors[name] = accuracy.error(buffers[name], value)
        wrong = {name for name, e in result.errors.items() if not e <= self.tolerance}
        if "output" in wrong:
            y, correct = found["output"], expected["output"]
            assert y is not None
            assert correct is not None
            reason = diagnosis.explain_output(y, correct, exact, exact_input[0], self.tolerance)
            return result.mark_wrong(f"its output: {reason}")
        for name in (name for name in expected if name in wrong):
            right = expected[name]
            assert right is not None
            reason = diagnosis.explain_tensor(found[name], right, len(x), self.tolerance)
            result.mark_wrong(f"its gradient by {name}: {reason}")
        for name in wrong - set(expected):
            result.mark_wrong(f"its buffer {name} is wrong after a training step")
        return result

    def check_second_derivatives(
        self, layer: torch.nn.Module, twin: torch.nn.Module, x: Tensor
    ) -> CheckResult:
        """Check the derivatives of the gradients, on the first two images."""
        result = CheckResult("second derivatives")
        layer, exact = self.config.prepare(layer), self.config.prepare(twin).double()
        x = x[:2].detach().requires_grad_()
        try:
            found = accuracy.second_derivatives(layer, [x], self.config)
        except Exception as error:
            return result.mark_unsupported(first_line(error))
        expected = accuracy.second_derivatives(exact, accuracy.to_float64([x]), self.config)
        result.errors = accuracy.errors(found, expected)
        for name, e in result.errors.items():
            if not e <= self.tolerance:
                reason = diagnosis.explain_tensor(found[name], expected[name], 1, self.tolerance)
                result.mark_wrong(f"its second derivative by {name}: {reason}")
        return result

    def is_right_without_overlap(self, arguments: Arguments, twin: torch.nn.Module) -> bool:
        """Whether the gradient with respect to the input is right if no two windows overlap."""
        size = getattr(twin, "kernel_size", None)
        if size is None:
            return False
        if not isinstance(size, int) and len({*size}) == 1:
            size = size[0]  # a layer under test may accept integers only
        result = self.check_option(arguments, {"stride": size, "padding": 0})
        return result is not None and result.errors.get("input", 1.0) <= self.tolerance
