"""`compare.py check`: compares a reader's own layer with its twin and explains what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from .accuracy import worst
from .benchmark import profile
from .benchmark_config import BenchmarkConfig
from .check_options import OPTIONS
from .check_target import (
    Arguments,
    Constructor,
    InvalidCheck,
    first_line,
    load,
    parse_shape,
    twin_of,
)  # fmt: skip
from .checker import DIFFERS, PASS, UNSUPPORTED, Checker, CheckResult
from .layer_benchmark import PASSES
from .names import OURS, THEIRS
from .shapes import Row
from .table import Table

OVERLAP = (
    "; with windows that do not overlap it is right: where they overlap, a pixel must get the sum "
    "of what they send back"
)


def check(
    name: str, against: str, shape: str, arguments: str, config: BenchmarkConfig, log: Callable
) -> bool:
    """Check a layer; True if it is right.

    Args:
        name: my_module:MyLayer or my_file.py:MyLayer.
        against: the twin, torch.nn.Conv2d; "" for the torch.nn layer that the class extends.
        shape: of the input, "8,3,32,32".
        arguments: of both constructors, "3, 16, 3, padding=1".
        log: called with each part of the report.
    Raises:
        InvalidCheck: this is not a possible check; the message says why.
    """
    size, given, layer_class = parse_shape(shape), Arguments.parse(arguments), load(name)
    twin_class = twin_of(layer_class, against)
    checker = Checker(layer_class, twin_class, size, config)
    _validate(checker, given)
    log(
        f"{name}({given}) against {_name(twin_class)}\non an input {' x '.join(map(str, size))} in "
        f"{config.describe()['dtype']}; errors are relative to the largest number of the twin in "
        f"float64, tolerance {checker.tolerance:.0e}\n"
    )
    try:
        layer, twin = checker.build_pair(given)
    except RuntimeError:
        return _log_verdict(log, [_different_parameters(given, layer_class, twin_class)])
    x = checker.random_input({})
    first = checker.check_input(CheckResult("as given"), layer, twin, x)
    if first.verdict == UNSUPPORTED:
        return _log_verdict(log, [f"its forward pass raises {first.note}"])
    if "input" in first.errors and not first.errors["input"] <= checker.tolerance:
        first.reasons = [
            reason + OVERLAP * (by_input and checker.is_right_without_overlap(given, twin))
            for reason in first.reasons
            for by_input in [reason.startswith("its gradient by input")]
        ]
    second = checker.check_second_derivatives(layer, twin, x)
    log(_error_table(checker, first, second).text())
    others = [*_check_options(checker, given), *_check_inputs(checker, layer, twin, x)]
    log(_verdict_table(others).text())
    reasons = first.reasons or second.reasons  # wrong gradients have wrong derivatives
    if not reasons:  # the speed of a wrong layer is meaningless
        log(_profile_table(checker, layer, twin).text())
    # A layer that is wrong with the given arguments is usually wrong with all others too.
    with_others = [f"with {o.name}, {reason}" for o in others for reason in o.reasons]
    return _log_verdict(log, reasons or with_others)


def _log_verdict(log: Callable, reasons: list[str]) -> bool:
    log("\n".join(["verdict: wrong", *(f"  {reason}" for reason in reasons)])
        if reasons else "verdict: right")  # fmt: skip
    return not reasons


def _validate(checker: Checker, given: Arguments) -> None:
    """Make sure that both layers can be built and that the twin accepts the input.

    Raises:
        InvalidCheck: otherwise.
    """
    for constructor in (checker.twin, checker.layer):
        try:
            built = given.build(constructor)
        except Exception as error:
            called = f"{_name(constructor)}({given})"
            raise InvalidCheck(f"{called} raises {first_line(error)}: give other --args") from None
        if not isinstance(built, torch.nn.Module):
            raise InvalidCheck(f"{_name(constructor)} makes no torch.nn.Module, but {type(built)}")
    try:
        given.build(checker.twin)(torch.zeros(checker.shape))
    except Exception as error:
        raise InvalidCheck(
            f"{_name(checker.twin)}({given}) does not take an input {checker.shape}: "
            f"{first_line(error)}"
        ) from None


def _name(constructor: Constructor) -> str:
    name = getattr(constructor, "__name__", str(constructor))
    public = getattr(torch.nn, name, None) is constructor
    return f"torch.nn.{name}" if public else f"{constructor.__module__}.{name}"


def _different_parameters(given: Arguments, layer: Constructor, twin: Constructor) -> str:
    """One sentence that lists the parameters and buffers of both."""
    ours, theirs = (
        ", ".join(f"{key} {tuple(value.shape)}" for key, value in built.state_dict().items())
        for built in (given.build(layer), given.build(twin))
    )
    return (
        f"its parameters are {ours or 'none'}, but {_name(twin)}'s are {theirs or 'none'}: with "
        "the same names and shapes both can be given the same numbers"
    )


def _check_options(checker: Checker, given: Arguments) -> Iterator[CheckResult]:
    """Check the other options of a twin that `OPTIONS` lists."""
    bases = checker.twin.__mro__ if isinstance(checker.twin, type) else ()
    options = next((OPTIONS[base.__name__] for base in bases if base.__name__ in OPTIONS), [])
    for changes in options:
        result = checker.check_option(given, changes)
        if result is not None:
            yield result


def _check_inputs(
    checker: Checker, layer: torch.nn.Module, twin: torch.nn.Module, x: Tensor
) -> Iterator[CheckResult]:
    """Check the same layer on other inputs, in evaluation mode, and in float64."""
    inputs = {
        "a batch of one": x[:1],
        "an empty batch": x[:0],
        "no batch dimension": x[0],
        "every other number of a larger tensor": torch.stack((x, x), -1).flatten(-2)[..., ::2],
        "whole numbers (ties, zeros)": x.round(),
    }
    if x.dim() == 4:
        inputs["channels_last"] = x.contiguous(memory_format=torch.channels_last)
    for name, other in inputs.items():
        try:
            checker.config.prepare(twin)(other)
        except Exception:  # the twin does not support it either
            continue
        yield checker.check_input(CheckResult(name), layer, twin, other)
    evaluated = copy.deepcopy(layer).eval(), copy.deepcopy(twin).eval()
    yield checker.check_input(CheckResult("eval()"), *evaluated, x)
    in_float64 = replace(checker, config=replace(checker.config, dtype=torch.float64))
    yield in_float64.check_input(CheckResult("float64"), layer, twin, x.double())


def _error_table(checker: Checker, first: CheckResult, second: CheckResult) -> Table:
    """Errors with the given arguments, and the twin's own errors in the same dtype."""
    rows = []
    for name, error in first.errors.items():
        verdict = PASS if error <= checker.tolerance else DIFFERS
        tensor = "output" if name == "output" else f"gradient by {name}"
        by_twin = f"{first.twin_errors[name]:.0e}" if name in first.twin_errors else ""
        rows.append([tensor if by_twin else name, verdict, f"{error:.0e}", by_twin, ""])
    derivative = f"{worst(second.errors):.0e}" if second.errors else ""
    rows.append([second.name, second.verdict, derivative, "", second.note])
    return Table("numbers", ["", "", "error", _name(checker.twin), ""], rows, words=(0, 1, 4))


def _verdict_table(results: list[CheckResult]) -> Table:
    return Table(
        "other arguments, other inputs",
        ["", "", ""],
        [[result.name, result.verdict, result.note] for result in results],
        words=(0, 1, 2),
    )


def _profile_table(checker: Checker, layer: torch.nn.Module, twin: torch.nn.Module) -> Table:
    """Time and memory, next to the twin in the faster of its two memory formats."""
    profiled = profile(Row("yours", "", checker.shape), layer, twin, checker.config)
    rows = []
    for key, name in PASSES.items():
        times = [median(getattr(profiled.times[side], key)) * 1e3 for side in (OURS, THEIRS)]
        rows.append([f"{name}, ms", *(f"{t:.2f}" for t in times), str(profiled.ratio(THEIRS, key))])
    for name, sizes in (
        ("peak memory, KiB", [profiled.peak[side] for side in (OURS, THEIRS)]),
        ("kept for the backward pass, KiB", [profiled.saved[side][1] for side in (OURS, THEIRS)]),
    ):
        ratio = f"{sizes[0] / sizes[1]:.2f}" if sizes[1] else ""
        rows.append([name, *(f"{size / 1024:.1f}" for size in sizes), ratio])
    return Table("price", ["", "yours", _name(checker.twin), "ratio"], rows)
