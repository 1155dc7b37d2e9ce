"""`compare.py check`: a reader's own layer, judged by its twin, and told why it is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from .accuracy import worst
from .benchmark import price
from .judge import DIFFERS, MISSING, PASS, Judge, Trial
from .names import OURS, THEIRS
from .setting import Setting
from .shapes import Row
from .subject import Arguments, Constructor, Impossible, load, parse_shape, told, twin_of
from .survey import PARTS
from .table import Table
from .twins import OPTIONS

OVERLAP = (
    "; with windows that do not overlap it is right: where they overlap, a pixel must get the sum "
    "of what they send back"
)


def check(
    name: str, against: str, shape: str, arguments: str, setting: Setting, tell: Callable
) -> bool:
    """Judge a layer; True if it is right.

    Args:
        name: my_module:MyLayer or my_file.py:MyLayer.
        against: the twin, torch.nn.Conv2d; "" for the torch.nn layer the class extends.
        shape: of the input, "8,3,32,32".
        arguments: of both constructors, "3, 16, 3, padding=1".
        tell: called with every part of the report.
    Raises:
        Impossible: the question makes no sense; the message says why.
    """
    size, given, layer = parse_shape(shape), Arguments.parse(arguments), load(name)
    twin = twin_of(layer, against)
    judge = Judge(layer, twin, size, setting)
    _possible(judge, given)
    tell(
        f"{name}({given}) against {_name(twin)}\non an input {' x '.join(map(str, size))} in "
        f"{setting.describe()['dtype']}; errors are relative to the largest number of the twin in "
        f"float64, tolerance {judge.tolerance:.0e}\n"
    )
    try:
        mine, theirs = judge.pair(given)
    except RuntimeError:
        return _verdict(tell, [_parameters(given, layer, twin)])
    x = judge.input({})
    first = judge.try_input(Trial("as given"), mine, theirs, x)
    if first.verdict == MISSING:
        return _verdict(tell, [f"its forward pass raises {first.note}"])
    if "input" in first.errors and not first.errors["input"] <= judge.tolerance:
        first.reasons = [
            reason + OVERLAP * (by_input and judge.overlap_is_to_blame(given, theirs))
            for reason in first.reasons
            for by_input in [reason.startswith("its gradient by input")]
        ]
    second = judge.try_second(mine, theirs, x)
    tell(_numbers(judge, first, second).text())
    trials = [*_options(judge, given), *_circumstances(judge, mine, theirs, x)]
    tell(_others(trials).text())
    reasons = first.reasons or second.reasons  # wrong gradients have wrong derivatives
    if not reasons:  # the speed of a wrong layer says nothing
        tell(_price(judge, mine, theirs).text())
    # What is wrong already with the arguments given is not said again for every other.
    others = [f"with {t.what}, {reason}" for t in trials for reason in t.reasons]
    return _verdict(tell, reasons or others)


def _verdict(tell: Callable, reasons: list[str]) -> bool:
    tell("\n".join(["verdict: wrong", *(f"  {reason}" for reason in reasons)])
         if reasons else "verdict: right")  # fmt: skip
    return not reasons


def _possible(judge: Judge, given: Arguments) -> None:
    """That both layers can be built, and the twin takes the input.

    Raises:
        Impossible: not so.
    """
    for constructor in (judge.twin, judge.layer):
        try:
            built = given.build(constructor)
        except Exception as error:
            called = f"{_name(constructor)}({given})"
            raise Impossible(f"{called} raises {told(error)}: give other --args") from None
        if not isinstance(built, torch.nn.Module):
            raise Impossible(f"{_name(constructor)} makes no torch.nn.Module, but {type(built)}")
    try:
        given.build(judge.twin)(torch.zeros(judge.shape))
    except Exception as error:
        raise Impossible(
            f"{_name(judge.twin)}({given}) does not take an input {judge.shape}: {told(error)}"
        ) from None


def _name(constructor: Constructor) -> str:
    name = getattr(constructor, "__name__", str(constructor))
    public = getattr(torch.nn, name, None) is constructor
    return f"torch.nn.{name}" if public else f"{constructor.__module__}.{name}"


def _parameters(given: Arguments, layer: Constructor, twin: Constructor) -> str:
    """What the two call their parameters and buffers."""
    mine, theirs = (
        ", ".join(f"{key} {tuple(value.shape)}" for key, value in built.state_dict().items())
        for built in (given.build(layer), given.build(twin))
    )
    return (
        f"its parameters are {mine or 'none'}, but {_name(twin)}'s are {theirs or 'none'}: with "
        "the same names and shapes both can be given the same numbers"
    )


def _options(judge: Judge, given: Arguments) -> Iterator[Trial]:
    """Other arguments, if the twin is a layer we know."""
    kinds = judge.twin.__mro__ if isinstance(judge.twin, type) else ()
    known = next((OPTIONS[kind.__name__] for kind in kinds if kind.__name__ in OPTIONS), [])
    for changes in known:
        trial = judge.try_option(given, changes)
        if trial is not None:
            yield trial


def _circumstances(
    judge: Judge, mine: torch.nn.Module, theirs: torch.nn.Module, x: Tensor
) -> Iterator[Trial]:
    """Other inputs of the same layer, and evaluation mode."""
    inputs = {
        "a batch of one": x[:1],
        "an empty batch": x[:0],
        "no batch dimension": x[0],
        "every other number of a larger tensor": torch.stack((x, x), -1).flatten(-2)[..., ::2],
        "whole numbers (ties, zeros)": x.round(),
    }
    if x.dim() == 4:
        inputs["channels_last"] = x.contiguous(memory_format=torch.channels_last)
    for what, other in inputs.items():
        try:
            judge.setting.place(theirs)(other)
        except Exception:  # its twin cannot do it either
            continue
        yield judge.try_input(Trial(what), mine, theirs, other)
    evaluated = copy.deepcopy(mine).eval(), copy.deepcopy(theirs).eval()
    yield judge.try_input(Trial("eval()"), *evaluated, x)
    wide = replace(judge, setting=replace(judge.setting, dtype=torch.float64))
    yield wide.try_input(Trial("float64"), mine, theirs, x.double())


def _numbers(judge: Judge, first: Trial, second: Trial) -> Table:
    """Errors with the arguments given, beside those that the twin makes in this precision."""
    rows = []
    for name, error in first.errors.items():
        verdict = PASS if error <= judge.tolerance else DIFFERS
        what = "output" if name == "output" else f"gradient by {name}"
        own = f"{first.theirs[name]:.0e}" if name in first.theirs else ""
        rows.append([what if own else name, verdict, f"{error:.0e}", own, ""])
    derivative = f"{worst(second.errors):.0e}" if second.errors else ""
    rows.append([second.what, second.verdict, derivative, "", second.note])
    return Table("numbers", ["", "", "error", _name(judge.twin), ""], rows, words=(0, 1, 4))


def _others(trials: list[Trial]) -> Table:
    return Table(
        "other arguments, other inputs",
        ["", "", ""],
        [[trial.what, trial.verdict, trial.note] for trial in trials],
        words=(0, 1, 2),
    )


def _price(judge: Judge, mine: torch.nn.Module, theirs: torch.nn.Module) -> Table:
    """Time and memory, beside the better of the twin's two layouts."""
    found = price(Row("yours", "", judge.shape), mine, theirs, judge.setting)
    rows = []
    for part, what in PARTS.items():
        times = [median(getattr(found.times[side], part)) * 1e3 for side in (OURS, THEIRS)]
        rows.append([f"{what}, ms", *(f"{t:.2f}" for t in times), str(found.ratio(THEIRS, part))])
    for what, sizes in (
        ("peak memory, KiB", [found.peak[side] for side in (OURS, THEIRS)]),
        ("kept for the backward pass, KiB", [found.kept[side][1] for side in (OURS, THEIRS)]),
    ):
        ratio = f"{sizes[0] / sizes[1]:.2f}" if sizes[1] else ""
        rows.append([what, *(f"{size / 1024:.1f}" for size in sizes), ratio])
    return Table("price", ["", "yours", _name(judge.twin), "ratio"], rows)
