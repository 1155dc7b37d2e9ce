"""The chapter's formulas with a network's own numbers in them.

Each kind of layer is explained once for each size that it has in the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from .notation import CONVOLUTIONS, POOLS, flattened_map, is_elementwise, volume
from .summary import Row, Summary
from .walk import Call
from .windows import Window, options, slide

LINEAR = ("Linear", "linear")
BYTES = 4  # of a number of float32, in which the chapter counts


def explain(summary: Summary) -> str:
    """Paragraphs, one for each layer that the chapter has a formula for."""
    calls = {row.name: row.call for row in summary.rows}
    seen, paragraphs = set[tuple[str, str]](), []
    stacks = {stack[-1].name: stack for stack in _stacks(summary)}
    for row in summary.rows:
        head = f"{row.word} on {_volume(row.call)}"
        first = (row.word, head) not in seen
        seen.add((row.word, head))
        lines = [*_layer(row, calls)] if first else []
        if row.name in stacks:
            lines += _stack(stacks[row.name])
        if lines:
            at = f"{row.name}: {head}" if first else row.name
            paragraphs.append("\n  ".join((at, *lines)))
    return "\n\n".join((*paragraphs, _memory(summary)))


def _layer(row: Row, calls: dict[str, Call]) -> Iterator[str]:
    call = row.call
    if call.shape is None:
        return
    if call.op in CONVOLUTIONS:
        yield from _convolution(call)
        yield _field(row)
    elif call.op in POOLS:
        yield from _sizes(call)
        before, after = prod(call.in_shapes[0][1:]), prod(call.shape[1:])
        share = 1 - after / before
        if share > 0:
            yield f"activations  {before:,} -> {after:,}: {share:.0%} are dropped; no parameters"
        yield _field(row)
    elif call.op in LINEAR and len(call.shape) == 2:
        yield from _linear(call, calls)


def _volume(call: Call) -> str:
    return volume(call.in_shapes[0])


def _sizes(call: Call) -> Iterator[str]:
    """(W - F + 2P)/S + 1 along one axis, or along both if they differ."""
    assert call.shape is not None
    axes = list(zip(slide(call), call.in_shapes[0][-2:], call.shape[-2:], strict=True))
    names = ("width", "height") if axes[0] != axes[1] else ("size",)
    for name, (window, length, output) in zip(names, axes[::-1], strict=False):
        yield f"{name:<13}{_size(window, length, output)}"


def _size(window: Window, length: int, output: int) -> str:
    kernel, stride, padding, dilation = window
    span = dilation * (kernel - 1) + 1
    wide = f"F = {dilation}*({kernel} - 1) + 1 = {span}; " if dilation > 1 else ""
    exact = (length - span + 2 * padding) / stride + 1
    terms = f"{wide}(W - F + 2P)/S + 1 = ({length} - {span} + {2 * padding})/{stride} + 1"
    if exact == output:
        return f"{terms} = {output}"
    how = "up" if output > exact else "down"
    return f"{terms} = {exact:g}, no whole number: rounded {how} to {output}"


def _convolution(call: Call) -> Iterator[str]:
    assert call.shape is not None
    vertical, horizontal = slide(call)
    _, depth, *_ = call.in_shapes[0]
    _, filters, height, width = call.shape
    groups = options(call).get("groups", 1)
    depth //= groups
    f_h, f_w, places = vertical.kernel_size, horizontal.kernel_size, height * width
    neurons, fan_in = places * filters, f_h * f_w * depth
    window = f"{f_h}*{f_w}*{depth}"
    yield from _sizes(call)
    yield f"neurons      {height}*{width}*{filters} = {neurons:,}"
    yield f"connections  each sees {window} = {fan_in:,} numbers; with its bias {fan_in + 1:,}"
    if fan_in == depth:
        yield f"             a dot product of {depth} numbers at every pixel"
    yield f"unshared     {neurons:,}*{fan_in + 1:,} = {neurons * (fan_in + 1):,} parameters"
    if call.op != "LocallyConnected2d":
        weights = filters * fan_in
        biases = filters * _has_bias(call)
        yield (
            f"shared       {filters}*{fan_in:,} = {weights:,} weights, with {biases} biases "
            f"{weights + biases:,} parameters"
        )
    if groups > 1:
        yield f"groups       {groups}, each with 1/{groups} of the channels and of the filters"
        return
    inputs, columns = prod(call.in_shapes[0][1:]), fan_in * places
    yield (
        f"im2col       X_col [{fan_in} x {places}], W_row [{filters} x {fan_in}], their product "
        f"[{filters} x {places}] -> {volume(call.shape)}"
    )
    yield (
        f"             X_col has {columns:,} numbers, {columns / inputs:.2f} times the "
        f"{inputs:,} of the input"
    )
    yield f"output       {_output(horizontal)}"


def _has_bias(call: Call) -> bool:
    """A layer may go without; a function is taken to have one."""
    return call.module is None or getattr(call.module, "bias", None) is not None


def _output(window: Window) -> str:
    """The chapter's numpy example, whose first index is the width's."""
    kernel, stride, padding, dilation = window
    padded = "" if padding == 0 else f"; X is padded by {padding}"
    if dilation > 1:
        taps = " + ".join(f"w[{k}]*x[{k * dilation}]" for k in range(kernel))
        return f"a row computes {taps}; the chapter calls it dilation {dilation - 1}{padded}"
    first = f"{stride if stride > 1 else ''}i"
    second = first.replace("i", "j")
    rows = f"{first}:{first}+{kernel}, {second}:{second}+{kernel}"
    return f"V[i,j,d] = sum(X[{rows}, :] * W_d) + b_d{padded}"


def _field(row: Row) -> str:
    field, window = row.receptive_field, slide(row.call)[0]
    if field is None:
        return "field        unknown"
    jump = field.stride[0] // window.stride if window.stride else 0
    grown = window.dilation * (window.kernel_size - 1) * jump
    steps = f"{window.dilation}*({window.kernel_size} - 1)*{jump}"
    return (
        f"field        {field.size[0] - grown} + {steps} = {field.size[0]} pixels, "
        f"{field.stride[0]} apart"
    )


def _linear(call: Call, calls: dict[str, Call]) -> Iterator[str]:
    """A fully connected layer, and the convolution that it is."""
    assert call.shape is not None
    outputs, inputs = call.shape[1], call.in_shapes[0][1]
    flattened = flattened_map(call, calls)
    if flattened is None:
        yield f"weights      {inputs:,}*{outputs:,} = {inputs * outputs:,}"
        yield f"as CONV      F = 1, P = 0, S = 1, K = {outputs} -> [1x1x{outputs}]"
        return
    channels, height, width = flattened
    yield f"connections  each unit sees {height}*{width}*{channels} = {inputs:,} numbers"
    yield f"weights      {inputs:,}*{outputs:,} = {inputs * outputs:,}"
    yield f"as CONV      F = {_by(height, width)}, P = 0, S = 1, K = {outputs} -> [1x1x{outputs}]"


def dense(summary: Summary) -> list[str]:
    """What the fully connected layers, as convolutions, give for a larger image."""
    calls = {row.name: row.call for row in summary.rows}
    for row in summary.rows:
        flattened = row.call.op in LINEAR and flattened_map(row.call, calls)
        if not flattened:
            continue
        field = next(
            (r.receptive_field for r in summary.rows[::-1] if r.call.shape is not None
             and r.call.shape[1:] == flattened and r.receptive_field is not None), None,
        )  # fmt: skip
        last = summary.evaluated[-1].call.shape
        if field is None or last is None or not field.stride[0] or flattened[1] != flattened[2]:
            return []
        stride, side, maps, classes = field.stride[0], summary.shape[-1], flattened[1], last[1]
        return _denser(stride, side, maps, flattened[0], classes)
    return []


def _denser(stride: int, side: int, maps: int, channels: int, classes: int) -> list[str]:
    steps = maps - 2 if maps > 2 else 2
    larger, wide, answers = side + steps * stride, maps + steps, steps + 1
    lines = [
        f"As convolutions, the fully connected layers read an image of any size: {larger} pixels, "
        f"{steps} strides",
        f"of {stride} more than {side}, give [{wide}x{wide}x{channels}], and "
        f"({wide} - {maps})/1 + 1 = {answers}: [{answers}x{answers}x{classes}], as many answers as "
        f"{answers}*{answers} = {answers**2} crops of {side}.",
    ]
    half, finer = stride // 2, 2 * steps + 1
    counts = [answers**2, answers * steps, answers * steps, steps**2]
    if stride % 2 == 0:
        lines.append(
            f"At stride {half} there are ({larger} - {side})/{half} + 1 = {finer}: four passes, "
            f"shifted by (0, 0), (0, {half}), ({half}, 0) and ({half}, {half}), give "
            f"{' + '.join(map(str, counts))} = {sum(counts)} = {finer}*{finer} answers."
        )
    return lines


def _stacks(summary: Summary) -> Iterator[list[Row]]:
    """Two and more convolutions of one window at stride 1, with nothing but ReLUs between them."""
    stack: list[Row] = []
    previous = ""
    for row in summary.rows:
        call = row.call
        follows = call.inputs == (previous,)
        if is_elementwise(call) and follows:
            previous = row.name
            continue
        stackable = call.op in CONVOLUTIONS and _is_plain(call)
        if stackable and stack and follows and row.word == stack[0].word:
            stack.append(row)
        else:
            if len(stack) > 1:
                yield stack
            stack = [row] if stackable else []
        previous = row.name
    if len(stack) > 1:
        yield stack


def _is_plain(call: Call) -> bool:
    (kernel, stride, _, dilation), horizontal = slide(call)
    square = kernel == horizontal.kernel_size > 1
    return square and stride == dilation == 1 and getattr(call.module, "groups", 1) == 1


def _stack(stack: list[Row]) -> list[str]:
    kernel, count = slide(stack[0].call)[0].kernel_size, len(stack)
    span = count * (kernel - 1) + 1
    shape = stack[-1].call.shape
    assert shape is not None
    channels = shape[1]
    several, one = count * kernel**2, span**2
    spans = [n * (kernel - 1) + 1 for n in range(1, count + 1)]
    fields = " -> ".join(f"{n}x{n}" for n in spans)
    return [
        f"stack        {count} of {kernel}x{kernel} see {fields}; of C channels each they have "
        f"{count}*(C*({kernel}*{kernel}*C)) = {several}C^2 weights,",
        f"             one of {span}x{span} has C*({span}*{span}*C) = {one}C^2; for C = {channels} "
        f"{several * channels**2:,} against {one * channels**2:,}",
    ]


def _memory(summary: Summary) -> str:
    """Bytes are numbers times 4, divided by 1024 as often as it makes sense."""
    maps = [prod(r.call.shape[1:]) for r in summary.rows
            if r.call.op in CONVOLUTIONS and r.call.shape is not None]  # fmt: skip
    numbers, parameters = sum(maps), summary.parameters
    lines = ["memory of one image, float32"]
    if maps:
        doubled = 2 * numbers * BYTES
        lines.append(
            f"CONV volumes {numbers:,} activations; with their gradients 2*{numbers:,}*{BYTES} = "
            f"{doubled:,} bytes = {doubled / 2**20:.1f} MiB"
        )
    total = parameters * BYTES
    lines += [
        f"parameters   {parameters:,}*{BYTES} = {total:,} bytes /1024 /1024 = "
        f"{total / 2**20:.1f} MiB",
        f"             with gradients and momentum three times that, {3 * total / 2**20:.1f} MiB",
    ]
    return "\n  ".join((*lines, *dense(summary)))


def _by(height: int, width: int) -> str:
    return f"{height}" if height == width else f"{height}x{width}"
