"""What torch.nn takes, ours takes; what it refuses, ours refuses, with its type of exception."""

from enum import IntEnum

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layers
import layers.functional as L
from tests.cases import since

IMAGES, WEIGHT = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3)
POOLED, INDICES = torch.randn(2, 4, 4, 4), torch.zeros(2, 4, 4, 4, dtype=torch.int64)


def untied(nn, **options):
    """A locally connected layer beside a convolution, of which torch.nn has the same arguments."""
    if nn is F:
        return torch.nn.Conv2d(4, 6, **{"kernel_size": 3, **options})(IMAGES)
    return layers.LocallyConnected2d(4, 6, 8, **{"kernel_size": 3, **options})(IMAGES)


CALLS = {
    "conv2d": lambda nn, **o: nn.conv2d(IMAGES, WEIGHT, **o),
    "locally_connected2d": untied,
    "max_pool2d": lambda nn, **o: nn.max_pool2d(IMAGES, **{"kernel_size": 3, **o}),
    "avg_pool2d": lambda nn, **o: nn.avg_pool2d(IMAGES, **{"kernel_size": 3, **o}),
    "lp_pool2d": lambda nn, **o: nn.lp_pool2d(IMAGES, 2, **{"kernel_size": 3, **o}),
    "max_unpool2d": lambda nn, **o: nn.max_unpool2d(POOLED, INDICES, **{"kernel_size": 2, **o}),
    "adaptive_avg_pool2d": lambda nn, **o: nn.adaptive_avg_pool2d(IMAGES, **o),
}
ARGUMENTS = [
    ("conv2d", "stride"),
    ("conv2d", "padding"),
    ("conv2d", "dilation"),
    ("conv2d", "groups"),
    ("locally_connected2d", "kernel_size"),
    ("locally_connected2d", "stride"),
    ("locally_connected2d", "padding"),
    ("locally_connected2d", "dilation"),
    ("locally_connected2d", "groups"),
    ("max_pool2d", "kernel_size"),
    ("max_pool2d", "stride"),
    ("max_pool2d", "padding"),
    ("max_pool2d", "dilation"),
    ("avg_pool2d", "kernel_size"),
    ("avg_pool2d", "stride"),
    ("avg_pool2d", "padding"),
    ("avg_pool2d", "divisor_override"),
    ("lp_pool2d", "kernel_size"),
    ("lp_pool2d", "stride"),
    ("max_unpool2d", "kernel_size"),
    ("max_unpool2d", "stride"),
    ("max_unpool2d", "padding"),
    ("adaptive_avg_pool2d", "output_size"),
]
each_argument = pytest.mark.parametrize(("name", "argument"), ARGUMENTS)


class One(IntEnum):
    ONE = 1


@each_argument
@pytest.mark.parametrize("one", [np.int64(1), np.uint8(1), torch.tensor(1), One.ONE], ids=repr)
def test_any_integral_type_is_a_whole_number(name, argument, one):
    options = {"output_size": 4} if argument == "output_size" else {}
    values = [1, one]
    if argument not in ("groups", "divisor_override"):
        values += [(1, 1), (1, one), [one, one]]
    torch.manual_seed(0)
    expected = [tuple(CALLS[name](L, **{**options, argument: 1}).shape)]
    assert [tuple(CALLS[name](L, **{**options, argument: v}).shape) for v in values] == (
        expected * len(values)
    )


@each_argument
@pytest.mark.parametrize(
    "value",
    [1.5, 1.0, (1.5, 2), (2, 2.0), "2", "23", np.float64(2), torch.tensor(2.0), True, {1, 2}],
    ids=repr,
)
def test_anything_else_is_a_type_error_that_names_the_argument(name, argument, value):
    if isinstance(value, str) and (name, argument) == ("locally_connected2d", "padding"):
        pytest.skip("a word, see below")
    if isinstance(value, str) and argument == "padding" and name == "conv2d":
        pytest.skip("a word, see below")
    with pytest.raises(TypeError, match=argument):
        CALLS[name](L, **{argument: value})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("conv2d", dict(stride=1.5), "stride must be a whole number, got 1.5"),
        ("conv2d", dict(stride=(1.5, 2)), "stride must be a whole number, got 1.5"),
        ("conv2d", dict(stride="23"), "stride must be a whole number"),
        ("conv2d", dict(stride=None), "stride must be a whole number, got None"),
        ("conv2d", dict(groups=1.0), "groups must be a whole number"),
        ("conv2d", dict(groups=0), "groups must be at least 1, got 0"),
        ("conv2d", dict(groups=-1), "groups must be at least 1, got -1"),
        ("conv2d", dict(stride=(1, 1, 1)), "pair"),
        ("conv2d", dict(stride=()), "pair"),
        ("conv2d", dict(padding="full"), "'same', 'valid' or pixels, got 'full'"),
        ("conv2d", dict(padding="same", stride=2), "only at stride 1"),
        ("conv2d", dict(bias=torch.ones(6, 1)), "6 filters need 6 biases"),
        ("conv2d", dict(bias=torch.ones(6, 1, 1)), "6 filters need 6 biases"),
        ("conv2d", dict(bias=torch.ones(1)), "6 filters need 6 biases"),
        ("conv2d", dict(bias=torch.ones(())), "6 filters need 6 biases"),
        ("locally_connected2d", dict(groups=0), "groups must be at least 1"),
        ("locally_connected2d", dict(groups=-2), "groups must be at least 1"),
        ("locally_connected2d", dict(groups=4), "4 and 6 channels"),
        ("locally_connected2d", dict(padding="full"), "'same', 'valid' or pixels, got 'full'"),
        ("locally_connected2d", dict(padding="same", stride=2), "only at stride 1"),
        ("locally_connected2d", dict(stride=1.5), "stride must be a whole number"),
        ("max_pool2d", dict(kernel_size=2.9), "kernel_size must be a whole number, got 2.9"),
        ("max_pool2d", dict(kernel_size="23"), "kernel_size must be a whole number"),
        ("avg_pool2d", dict(kernel_size=(2.9, 2)), "kernel_size must be a whole number, got 2.9"),
        ("avg_pool2d", dict(divisor_override=1.5), "divisor_override must be a whole number"),
        ("avg_pool2d", dict(divisor_override=0), "must not be zero"),
        ("adaptive_avg_pool2d", dict(output_size=(2,)), "one number or"),
        ("adaptive_avg_pool2d", dict(output_size=(2, 2, 2)), "one number or"),
        ("adaptive_avg_pool2d", dict(output_size=-1), "at least 0 x 0"),
        ("adaptive_avg_pool2d", dict(output_size=2.5), "output_size must be a whole number"),
        ("adaptive_avg_pool2d", dict(output_size=(2.5, 2)), "output_size must be a whole number"),
        ("max_unpool2d", dict(output_size=(12, 12)), "make .* of images near"),
        ("max_unpool2d", dict(output_size=(10, 8)), "make .* of images near"),
        ("max_unpool2d", dict(output_size=(8, 6)), "make .* of images near"),
        ("max_unpool2d", dict(output_size=(8,)), "must be .H, W. or .N, C, H, W."),
        ("max_unpool2d", dict(output_size=(4, 8, 8)), "must be .H, W. or .N, C, H, W."),
        ("max_unpool2d", dict(output_size=(7.5, 8)), "output_size must be a whole number"),
        ("max_unpool2d", dict(output_size=8), "output_size must be"),
        pytest.param(
            "max_unpool2d", dict(padding=5), "make .* of images near",
            marks=since("2.12", "an overflow is a RuntimeError"),
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence_of_the_twin_s_type(name, options, words):
    with pytest.raises((TypeError, ValueError, RuntimeError)) as theirs:
        CALLS[name](F, **options)
    with pytest.raises(theirs.type, match=words) as ours:
        CALLS[name](L, **options)
    assert ours.type is theirs.type


@pytest.mark.parametrize("shape", [(8, 8), (1, 2, 4, 8, 8)], ids=["2-D", "5-D"])
@pytest.mark.parametrize(
    "pool",
    [
        lambda x: L.max_pool2d(x, 2),
        lambda x: L.avg_pool2d(x, 2),
        lambda x: L.adaptive_avg_pool2d(x, 2),
        lambda x: L.max_unpool2d(x, torch.zeros(x.shape, dtype=torch.int64), 2),
    ],
    ids=["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "max_unpool2d"],
)
def test_pooling_takes_images_alone(pool, shape):
    with pytest.raises(RuntimeError, match="needs images"):
        pool(torch.randn(shape))
