"""The windows through which the calls of a network see their input, along both axes of a map.

A convolution and a pooling slide windows over the map.  Everything else is a special case: a ReLU
has a window of one unit, padding and slicing shift it, a global average or a flattened map has one
window that does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from layers import LocallyConnected2d

from .walk import Call


class Window(NamedTuple):
    """Unit p sees the units  stride p - padding + dilation i,  i = 0, ..., kernel_size - 1."""

    kernel_size: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1


Windows = tuple[Window, Window]  # vertical, horizontal
UNIT: Windows = (Window(), Window())


def windows(call: Call) -> Windows | None:
    """The windows of a call on a map (N, C, H, W), or None if it is not known here."""
    rule = RULES.get(call.op)
    if rule is None or call.shape is None or len(call.in_shapes[0]) < 4:
        return None
    return rule(call)


def options(call: Call) -> dict[str, Any]:
    """Arguments by name: those of the module, or those of the function, with its defaults."""
    names = SIGNATURES.get(call.op, {})
    if isinstance(call.module, LocallyConnected2d):
        return call.module.geometry._asdict()
    if call.module is not None:
        return vars(call.module)
    return {**names, **dict(zip(names, call.args, strict=False)), **call.kwargs}


# Arguments of functions, with their defaults; the first is the map.
POOL: Mapping[str, Any] = dict(input=None, kernel_size=None, stride=None, padding=0, dilation=1)
CONV: Mapping[str, Any] = dict(
    input=None, weight=None, bias=None, stride=1, padding=0, dilation=1, groups=1
)
SIGNATURES: dict[str, Mapping[str, Any]] = {
    "conv2d": CONV,
    "max_pool2d": POOL,
    "max_pool2d_with_indices": POOL,
    "max_pool2d_with_switches": POOL,
    "avg_pool2d": dict(input=None, kernel_size=None, stride=None, padding=0),
    "lp_pool2d": dict(input=None, norm_type=None, kernel_size=None, stride=None),
    "locally_connected2d": dict(
        input=None, weight=None, bias=None, kernel_size=None, stride=1, padding=0, dilation=1
    ),
    "pad": dict(input=None, pad=None),
    "narrow": dict(input=None, dim=None, start=None, length=None),
    "transpose": dict(input=None, dim0=None, dim1=None),
    "chunk": dict(input=None, chunks=None, dim=0),
    "split": dict(input=None, split_size=None, dim=0),
    "cat": dict(tensors=None, dim=0),
    "concat": dict(tensors=None, dim=0),
    **{name: dict(input=None, dim=None) for name in ("softmax", "log_softmax")},
    **{name: dict(input=None, dim=None, keepdim=False) for name in ("mean", "sum", "amax")},
}


def slide(call: Call) -> Windows:
    """Convolution and pooling; a pooling's stride is its window, if it has none."""
    given = options(call)
    kernel_size = pair(given["kernel_size"] if "kernel_size" in given else given["weight"][-2:])
    stride = pair(given["stride"] or kernel_size)
    dilation = pair(given.get("dilation", 1))
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        same = padding == "same"
        padding = tuple(same * d * (k - 1) // 2 for d, k in zip(dilation, kernel_size, strict=True))
    vertical, horizontal = zip(kernel_size, stride, pair(padding), dilation, strict=True)
    return Window(*vertical), Window(*horizontal)


def adaptive(call: Call) -> Windows | None:
    """Adaptive pooling, where its windows are all of one size."""
    assert call.shape is not None
    axes = []
    for length, outputs in zip(call.in_shapes[0][-2:], call.shape[-2:], strict=True):
        if length % outputs:
            return None
        size = length // outputs
        axes.append(Window(size, 0 if outputs == 1 < size else size))
    vertical, horizontal = axes
    return vertical, horizontal


def unit(call: Call) -> Windows:
    """Each unit by itself, whatever it does with the channels."""
    return UNIT


def whole(call: Call) -> Windows:
    """All units: every number of the output may depend on each of them."""
    height, width = call.in_shapes[0][-2:]
    return Window(height, stride=0), Window(width, stride=0)


def flatten(call: Call) -> Windows | None:
    """A vector of all units, or a view that leaves the axes of the map as they are."""
    assert call.shape is not None
    if len(call.shape) >= 4 and call.shape[-2:] == call.in_shapes[0][-2:]:
        return UNIT
    return whole(call) if len(call.shape) == 2 else None


def padding(call: Call) -> Windows:
    """Padding starts before unit 0; negative, it crops."""
    given = options(call)
    sides: tuple[int, ...] = tuple(given["pad"] if call.module is None else given["padding"])
    left, top = sides[0], sides[2] if len(sides) > 2 else 0
    return Window(padding=top), Window(padding=left)


def getitem(call: Call) -> Windows | None:
    """x[..., a:b:s, c:d:t]; other indices are not known here."""
    index = call.args[1]
    index = index if isinstance(index, tuple) else (index,)
    rank = len(call.in_shapes[0])
    if Ellipsis in index:
        at = index.index(Ellipsis)
        fill = (slice(None),) * (rank - len(index) + 1)
        index = index[:at] + fill + index[at + 1 :]
    if not all(isinstance(part, slice) for part in index):
        return None
    parts = [part for part, _ in zip_longest(index, range(rank), fillvalue=slice(None))]
    axes = []
    for part, length in zip(parts[-2:], call.in_shapes[0][-2:], strict=True):
        start, _, step = part.indices(length)
        axes.append(Window(stride=step, padding=-start))
    vertical, horizontal = axes
    return vertical, horizontal


def narrow(call: Call) -> Windows | None:
    given, rank = options(call), len(call.in_shapes[0])
    shift = Window(padding=-given["start"])
    return {rank - 2: (shift, Window()), rank - 1: (Window(), shift)}.get(given["dim"] % rank, UNIT)


def reduction(call: Call) -> Windows | None:
    """A mean over the pixels, over something else, or over everything."""
    given, rank = options(call), len(call.in_shapes[0])
    dims = given["dim"]
    if dims is None:
        return whole(call)
    dims = {dim % rank for dim in ((dims,) if isinstance(dims, int) else dims)}
    if {rank - 2, rank - 1} <= dims:
        return whole(call)
    return UNIT if given["keepdim"] and not {rank - 2, rank - 1} & dims else None


def transpose(call: Call) -> Windows | None:
    """x.transpose(i, j), where it leaves the axes of the map as they are."""
    given, rank = options(call), len(call.in_shapes[0])
    return UNIT if max(given["dim0"] % rank, given["dim1"] % rank) < rank - 2 else None


def along_channels(call: Call) -> Windows | None:
    """What works along an axis other than the map's."""
    dim, rank = options(call)["dim"], len(call.in_shapes[0])
    return UNIT if dim is not None and dim % rank < rank - 2 else None


def pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return first, rest[0] if rest else first


Rule = Callable[[Call], Windows | None]
RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "Conv2d", "conv2d", "LocallyConnected2d", "locally_connected2d",
            "MaxPool2d", "max_pool2d", "max_pool2d_with_indices", "max_pool2d_with_switches",
            "AvgPool2d", "avg_pool2d", "LPPool2d", "lp_pool2d",
        ),
        slide,
    ),
    **dict.fromkeys(
        (
            "AdaptiveAvgPool2d", "AdaptiveMaxPool2d",
            "adaptive_avg_pool2d", "adaptive_max_pool2d",
        ),
        adaptive,
    ),
    **dict.fromkeys(
        (
            "BatchNorm2d", "SyncBatchNorm", "batch_norm", "LocalResponseNorm",
            "local_response_norm", "Identity", "Dropout", "Dropout2d", "AlphaDropout",
            "FeatureAlphaDropout", "dropout", "dropout2d", "stochastic_depth", "Softmax2d",
            "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "CELU", "SELU", "GELU", "SiLU",
            "Mish", "Hardswish", "Hardsigmoid", "Hardtanh", "Sigmoid", "Tanh", "ScaledTanh",
            "Softplus", "Softsign", "LogSigmoid", "Threshold",
            "relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish",
            "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "scaled_tanh", "softplus",
            "add", "sub", "rsub", "mul", "div", "truediv", "pow", "neg", "abs", "square", "sqrt",
            "rsqrt", "exp", "log", "clamp", "maximum", "minimum", "where",
            "contiguous", "clone", "to", "float", "half", "type_as", "detach",
        ),
        unit,
    ),
    **dict.fromkeys(("GroupNorm", "InstanceNorm2d", "group_norm", "instance_norm"), whole),
    **dict.fromkeys(("Flatten", "flatten", "view", "reshape", "unflatten", "squeeze"), flatten),
    **dict.fromkeys(
        ("pad", "ZeroPad2d", "ConstantPad2d", "ReflectionPad2d", "ReplicationPad2d"), padding
    ),
    **dict.fromkeys(("mean", "sum", "amax"), reduction),
    **dict.fromkeys(
        ("cat", "concat", "chunk", "split", "softmax", "log_softmax", "Softmax", "LogSoftmax"),
        along_channels,
    ),
    "transpose": transpose,
    "getitem": getitem,
    "narrow": narrow,
}  # fmt: skip
