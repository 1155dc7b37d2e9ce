"""Each kind of layer: its formula with numbers, and what a page needs to compute one unit of it.

explore_units.js has a function of the same name for every kind, which does that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from layers.ops.geometry import Geometry

from ..walk import Call
from ..windows import Window, windows
from ..windows import options as options_of

MINUS, TIMES, SUM, ROOT = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "Σ", "√"


@dataclass
class Kind:
    """How a call computes.

    `arrays` are indexed by the output's channel first, where they have one number for each.
    """

    kind: str
    formula: str
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)
    same_maps: bool = False  # whether its maps are those of its input, one for one


def kind_of(call: Call, operands: list[Tensor]) -> Kind:
    """
    Args:
        operands: tensors that the call, a function, reads besides the image's.
    """
    rule = RULES.get(call.op)
    found = rule(call, operands) if rule is not None and call.shape is not None else None
    return found or Kind("other", f"y = {call.op}(x)")


def _convolution(call: Call, operands: list[Tensor]) -> Kind | None:
    given = options_of(call)
    if getattr(call.module, "padding_mode", "zeros") != "zeros" or len(call.shape or ()) != 4:
        return None
    weight, bias = _weight_and_bias(call, operands)
    over = windows(call)
    if weight is None or over is None:
        return None
    (rows, columns), per_group = over, weight.shape[1]
    formula = (
        f"y[k, p, q] = {'b[k] + ' if bias is not None else ''}{SUM} w[k, c, i, j] · "
        f"x[c, {_place(rows, 'p', 'i')}, {_place(columns, 'q', 'j')}],  "
        f"c < {per_group}, i < {rows.kernel_size}, j < {columns.kernel_size}"
    )
    groups = int(given.get("groups", 1))
    if groups > 1:
        formula += f"; {groups} groups: c counts within the group of k"
    return Kind(
        "convolution", formula, {**_slide(over), "groups": groups}, _named(weight=weight, bias=bias)
    )


def _locally_connected(call: Call, operands: list[Tensor]) -> Kind | None:
    module: Any = call.module
    if module is None or call.shape is None:
        return None
    weight, bias = module.weight.detach(), module.bias
    over, size = windows(call), module.geometry.kernel_size
    assert over is not None
    # (H_out, W_out, G, K_h K_w C, C_out/G) -> (C_out, H_out, W_out, C, K_h, K_w)
    taps = weight.unflatten(3, (*size, -1)).permute(2, 6, 0, 1, 5, 3, 4).flatten(0, 1)
    rows, columns = over
    formula = (
        f"y[k, p, q] = {'b[k, p, q] + ' if bias is not None else ''}{SUM} w[k, p, q, c, i, j] · "
        f"x[c, {_place(rows, 'p', 'i')}, {_place(columns, 'q', 'j')}],  "
        f"c < {taps.shape[3]}, i < {size[0]}, j < {size[1]}: other weights at every position"
    )
    bias = None if bias is None else bias.detach()
    groups = module.geometry.groups
    return Kind(
        "local", formula, {**_slide(over), "groups": groups}, _named(weight=taps, bias=bias)
    )


def _fully_connected(call: Call, operands: list[Tensor]) -> Kind | None:
    weight, bias = _weight_and_bias(call, operands)
    if weight is None or len(call.shape or ()) != 2:
        return None
    formula = f"y[k] = {'b[k] + ' if bias is not None else ''}{SUM} w[k, j] · x[j],  j < "
    return Kind("linear", f"{formula}{weight.shape[1]}", {}, _named(weight=weight, bias=bias))


def _pooling(name: str, before: str, after: str = "") -> Callable[..., Kind | None]:
    def rule(call: Call, operands: list[Tensor]) -> Kind | None:
        over = windows(call)
        if over is None or len(call.shape or ()) != 4:
            return None
        rows, columns = over
        formula = (
            f"y[c, p, q] = {before} x[c, {_place(rows, 'p', 'i')}, {_place(columns, 'q', 'j')}]"
            f"{after},  i < {rows.kernel_size}, j < {columns.kernel_size}"
        )
        return Kind(name, formula, _slide(over), same_maps=True)

    return rule


def _average(call: Call, operands: list[Tensor]) -> Kind | None:
    found = _pooling("average", f"1/n {SUM}")(call, operands)
    if found is None or call.shape is None:
        return None
    given, geometry = options_of(call), _geometry(found.options)
    sizes = zip((0, 1), call.in_shapes[0][-2:], call.shape[-2:], strict=True)
    counts = [
        geometry.pixels_per_window(axis, length, outputs, given.get("count_include_pad", True))
        for axis, length, outputs in sizes
    ]
    found.options |= {"counts": counts, "divisor": given.get("divisor_override")}
    return found


def _p_norm(call: Call, operands: list[Tensor]) -> Kind | None:
    p = options_of(call)["norm_type"]
    found = _pooling("norm", f"({SUM} |", f"|^{p:g})^(1/{p:g})")(call, operands)
    if found is not None:
        found.options["p"] = p
    return found


def _pointwise(name: str, formula: str) -> Callable[..., Kind]:
    return lambda call, operands: Kind(name, formula, same_maps=True)


def _batch_norm(call: Call, operands: list[Tensor]) -> Kind | None:
    module: Any = call.module
    if module is None or module.running_mean is None:
        return None
    arrays = {"mean": module.running_mean, "variance": module.running_var}
    if module.weight is not None:
        arrays |= {"weight": module.weight, "bias": module.bias}
    is_affine = "weight" in arrays
    formula = (
        f"y = {'weight[c] · ' if is_affine else ''}(x {MINUS} mean[c]) / {ROOT}(variance[c] + "
        f"{module.eps:g}){' + bias[c]' if is_affine else ''}"
    )
    detached = {name: t.detach() for name, t in arrays.items()}
    return Kind("batch_norm", formula, {"eps": module.eps}, detached, same_maps=True)


def _response_norm(call: Call, operands: list[Tensor]) -> Kind | None:
    module: Any = call.module
    if module is None:
        return None
    size, alpha, beta, k = module.size, module.alpha, module.beta, module.k
    formula = (
        f"y[c] = x[c] / ({k:g} + {alpha:g}/{size} {SUM} x[c']²)^{beta:g},  over the {size} "
        "channels c' around c"
    )
    options = dict(size=size, alpha=alpha, beta=beta, k=k)
    return Kind("response_norm", formula, options, same_maps=True)


def _flatten(call: Call, operands: list[Tensor]) -> Kind | None:
    shape, before = call.shape or (), call.in_shapes[0]
    if len(shape) != 2:
        return None
    if len(before) == 2:
        return Kind("same", "y = x", same_maps=True)
    _, _, *size = before
    height, width = (*size, 1, 1)[:2]
    if height == width == 1:
        return Kind("flatten", "y[c] = x[c, 0, 0]")
    return Kind("flatten", f"y[({height}c + p) · {width} + q] = x[c, p, q]")


def _padding(call: Call, operands: list[Tensor]) -> Kind | None:
    """Zeros around a volume, or, negative, a margin cut off."""
    given, over = options_of(call), windows(call)
    if over is None or given.get("mode", "constant") != "constant" or given.get("value"):
        return None
    top, left = (-window.padding for window in over)
    formula = f"y[c, p, q] = x[c, p {MINUS} {-top}, q {MINUS} {-left}], and 0 outside"
    return Kind("padding", formula, {"offset": [top, left]}, same_maps=True)


def _arithmetic(sign: str) -> Callable[..., Kind | None]:
    """Of two volumes; or of one and a number, or a number for each of its maps."""

    def rule(call: Call, operands: list[Tensor]) -> Kind | None:
        if len(call.inputs) == 2 and call.in_shapes[0] == call.in_shapes[1] == call.shape:
            return Kind("add", f"y = a {sign} b", {"sign": sign}, same_maps=True)
        if len(call.inputs) != 1 or call.in_shapes[0] != call.shape:
            return None
        is_first = bool(call.args) and isinstance(call.args[0], str)  # x - 1, and not 1 - x
        if sign in (MINUS, "/") and not is_first:
            return None
        numbers = [v for v in call.args if isinstance(v, int | float)]
        constant = torch.tensor(float(numbers[0])) if numbers else None
        constant = operands[0] if operands else constant
        channels = (call.shape or (0, 0))[1]
        if constant is None or constant.numel() not in (1, channels) or call.kwargs:
            return None
        each = "[c]" if constant.numel() > 1 else ""
        formula = f"y = x {sign} {f'a{each}' if each else f'{float(constant):g}'}"
        array = constant.flatten().expand(channels)
        return Kind("scale", formula, {"sign": sign}, {"constant": array}, same_maps=True)

    return rule


def _concatenation(call: Call, operands: list[Tensor]) -> Kind | None:
    dim = options_of(call)["dim"]
    if dim not in (1, 1 - len(call.shape or ())):
        return None
    return Kind("concatenation", "y = the maps of the inputs, one after the other")


def _weight_and_bias(call: Call, operands: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    module: Any = call.module
    if module is not None:
        return module.weight.detach(), None if module.bias is None else module.bias.detach()
    weight, bias = (*operands, None, None)[:2]
    return weight, bias


def _named(**tensors: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _slide(over: tuple[Window, Window]) -> dict[str, Any]:
    rows, columns = over
    names = ("kernel_size", "stride", "padding", "dilation")
    return {name: [getattr(rows, name), getattr(columns, name)] for name in names}


def _geometry(options: dict[str, Any]) -> Geometry:
    kernel_size, stride, padding, dilation = (
        (options[name][0], options[name][1])
        for name in ("kernel_size", "stride", "padding", "dilation")
    )
    return Geometry(kernel_size, stride, padding, dilation)


def _place(window: Window, unit: str, tap: str) -> str:
    """Where tap i of unit p lies: 2p + i - 1."""
    terms = [f"{'' if n == 1 else n}{name}" for n, name in
             ((window.stride, unit), (window.dilation, tap if window.kernel_size > 1 else ""))
             if n and name]  # fmt: skip
    place = " + ".join(terms) or "0"
    return f"{place} {MINUS} {window.padding}" if window.padding else place


RULES: dict[str, Callable[..., Kind | None]] = {
    **dict.fromkeys(("Conv2d", "conv2d"), _convolution),
    "LocallyConnected2d": _locally_connected,
    **dict.fromkeys(("Linear", "linear"), _fully_connected),
    **dict.fromkeys(
        ("MaxPool2d", "max_pool2d", "max_pool2d_with_switches"), _pooling("maximum", "max")
    ),
    **dict.fromkeys(
        ("AvgPool2d", "avg_pool2d", "AdaptiveAvgPool2d", "adaptive_avg_pool2d"), _average
    ),
    **dict.fromkeys(("LPPool2d", "lp_pool2d"), _p_norm),
    **dict.fromkeys(("ReLU", "relu"), _pointwise("relu", "y = max(0, x)")),
    **dict.fromkeys(("Tanh", "tanh"), _pointwise("tanh", "y = tanh(x)")),
    **dict.fromkeys(("Sigmoid", "sigmoid"), _pointwise("sigmoid", "y = 1 / (1 + exp(-x))")),
    "neg": _pointwise("negative", f"y = {MINUS}x"),
    **dict.fromkeys(
        ("Dropout", "dropout"), _pointwise("same", "y = x  (in training, some are set to 0)")
    ),
    **dict.fromkeys(("Identity", "contiguous", "clone", "detach"), _pointwise("same", "y = x")),
    "BatchNorm2d": _batch_norm,
    "LocalResponseNorm": _response_norm,
    **dict.fromkeys(("Flatten", "flatten", "view", "reshape", "squeeze"), _flatten),
    **dict.fromkeys(("pad", "ZeroPad2d"), _padding),
    "add": _arithmetic("+"),
    "sub": _arithmetic(MINUS),
    "mul": _arithmetic(TIMES),
    **dict.fromkeys(("div", "truediv"), _arithmetic("/")),
    **dict.fromkeys(("cat", "concat"), _concatenation),
}
