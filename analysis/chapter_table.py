"""The chapter's table of VGG ("VGGNet in detail"), for any network, and where its sum is wrong."""

from __future__ import annotations

from math import prod

from .notation import CONVOLUTIONS, POOLS
from .summary import Row, Summary

LAYERS = (*CONVOLUTIONS, *POOLS, "Linear", "linear")  # the table has no line for a ReLU
BYTES = 4  # of a number


def chapter_table(summary: Summary) -> str:
    """One line for INPUT, each CONV, POOL and FC; a note on the sum of VGG-16."""
    image = summary.shape[1:]
    rows = [("INPUT", *_volume(image), "0")]
    numbers = [prod(image)]
    for row in _layers(summary):
        shape = row.call.shape
        assert shape is not None
        label = "FC" if row.word.startswith("FC") else row.word
        rows.append((label, *_volume(shape[1:]), _weights(row)))
        numbers.append(prod(shape[1:]))
    first, second, third = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [
        f"{f'{label}:':<{first + 2}}{volume:<{second + 2}}memory:  {memory:<{third + 3}}"
        f"weights: {weights}"
        for label, volume, memory, weights in rows
    ]
    total, weights = sum(numbers), sum(row.weights for row in _layers(summary))
    lines += [
        "",
        f"TOTAL memory: {short(total, 3)} * {BYTES} bytes = {total:,} * {BYTES} = "
        f"{total * BYTES:,} bytes = {total * BYTES / 2**20:.1f} MiB / image "
        "(only forward! ~*2 for bwd)",
        f"TOTAL params: {short(weights, 3)} = {weights:,} weights, with biases "
        f"{summary.parameters:,} parameters",
    ]
    if summary.name == "vgg16" and total == VGG16_NUMBERS:
        lines += ["", _quoted(total, summary)]
    return "\n".join(lines)


VGG16_NUMBERS = 15_237_608


def _quoted(total: int, summary: Summary) -> str:
    relus = [row for row in summary.rows if row.word == "RELU"]
    more = total + sum(prod(row.call.shape[1:]) for row in relus if row.call.shape is not None)
    return (
        'The chapter has these lines, and "TOTAL memory: 24M * 4 bytes ~= 93MB / image". 93 MB is '
        f"not their sum:\nthe lines add up to {total / 1e6:.1f}M numbers, "
        f"{total * BYTES / 2**20:.1f} MiB. Nor is it 24M * 4 bytes, which are "
        f"{24e6 * BYTES / 2**20:.1f} MiB.\nIf every RELU had a volume of its own, there would be "
        f"{more:,} numbers, {more * BYTES / 2**20:.1f} MiB."
    )


def _layers(summary: Summary) -> list[Row]:
    rows = (row for row in summary.evaluated if row.call.op in LAYERS)
    return [row for row in rows if row.call.shape is not None]


def _volume(shape: tuple[int, ...]) -> tuple[str, str]:
    """ "[224x224x64]", "224*224*64=3.2M"; of a vector "[1x1x4096]", "4096"."""
    channels, *pixels = shape
    height, width = pixels or (1, 1)
    numbers = short(prod(shape))
    product = f"{height}*{width}*{channels}={numbers}" if height * width > 1 else numbers
    return f"[{height}x{width}x{channels}]", product


def _weights(row: Row) -> str:
    if not row.weights:
        return "0"
    return f"{row.weight_product} = {row.weights:,}" if row.weight_product else f"{row.weights:,}"


def short(n: int, digits: int = 2) -> str:
    """Two digits, as in the chapter: 3.2M, 800K; below ten thousand all of them."""
    for power, letter in ((6, "M"), (3, "K")):
        if n >= 10**power and n >= 10_000:
            step = 10 ** max(0, len(str(n)) - digits)
            return f"{round(n / step) * step / 10**power:g}{letter}"
    return str(n)
