"""Outputs and gradients have the strides that torch.nn's have, number by number.

Whoever calls `x.view(...)` on an output, or hands its memory to other code, relies on them.
"""

import random
from contextlib import nullcontext
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.interop.memory_format import elementwise_like, is_channels_last
from tests.cases import contiguous, strided, table
from tests.layers.stride_cases import (
    CASES,
    EMPTY,
    LAYOUTS,
    ONE_CHANNEL,
    PIXELS,
    PLAIN,
    UPSTREAM,
    all_strides,
    last,
    ones,
    parts,
)

POOLINGS = "max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d", "global", "max_unpool2d"
ONE_PER_OPERATOR = [case for case in CASES if "-" not in case.id]
IN_MEMORY = [(PLAIN, contiguous), (PLAIN, last), (ONE_CHANNEL, last), (PIXELS, last)]
in_memory = pytest.mark.parametrize(("image", "layout"), IN_MEMORY)


def combinations(case):
    """Everything in float32; the other dtypes in the two memory formats, after a sum."""
    weights = LAYOUTS[:3] if case.parameters(4) else [contiguous]
    yield from product([torch.float32], case.images, LAYOUTS, weights, UPSTREAM)
    yield from product(case.dtypes[1:], case.images, [contiguous, last], weights, [ones])


def check(case, combinations):
    wrong = []
    for dtype, image, layout, weights, upstream in combinations:
        inputs = case.inputs(image, layout, weights, dtype)
        ours, theirs = (
            all_strides(lambda *i, nn=nn: case.function(nn, *i), inputs, upstream) for nn in (L, F)
        )
        if ours != theirs:
            names = (f.__name__ for f in (layout, weights, upstream))
            wrong.append(f"{dtype} {image} {' '.join(names)}: ours {ours}, torch's {theirs}")
    assert not wrong, "\n".join([f"{len(wrong)} differ:", *wrong[:20]])


@table(CASES)
def test_eager(case):
    check(case, combinations(case))


@table(CASES)
def test_without_kernels(case):
    with layers.reference():
        check(
            case, product([torch.float32], case.images, [contiguous, last], [contiguous], UPSTREAM)
        )


@table([case for case in CASES if case.id.startswith(("conv2d", *POOLINGS))])
def test_of_one_image(case):
    """Without the dimension of the batch there are no channels last, however the image lies."""
    for of_channels_last, upstream in product([False, True], [contiguous, ones, strided]):
        x, *parameters = case.inputs(PLAIN, last if of_channels_last else contiguous)
        inputs = [x[0].detach().requires_grad_(), *parameters]
        ours, theirs = (
            all_strides(lambda *i, nn=nn: case.function(nn, *i), inputs, upstream) for nn in (L, F)
        )
        assert ours == theirs


def test_functional_gradients_of_a_convolution():
    """torch.nn.grad computes each of the two with nothing known of the operand that it is of."""
    x, weight, g = torch.randn(2, 4, 6, 6), torch.randn(6, 4, 3, 3), torch.randn(2, 6, 4, 4)
    for of_x, of_weight, of_g in product(LAYOUTS, LAYOUTS, UPSTREAM):
        a, w, dy = of_x(x), of_weight(weight), of_g(g)
        ours, theirs = (
            (nn.conv2d_input(x.shape, w, dy), nn.conv2d_weight(a, weight.shape, dy))
            for nn in (L, torch.nn.grad)
        )
        assert [t.stride() for t in ours] == [t.stride() for t in theirs]


class Together(torch.nn.Module):
    """All cases as one function, compiled or exported once; each has inputs of its own."""

    def __init__(self, cases, nn):
        super().__init__()
        self.cases, self.nn = cases, nn

    def forward(self, inputs):
        return [
            parts(case.function(self.nn, *i)) for case, i in zip(self.cases, inputs, strict=True)
        ]


def compiled(module, backend="aot_eager", **options):
    torch._dynamo.reset()  # it counts what was compiled before for other inputs
    return torch.compile(module, fullgraph=True, backend=backend, **options)


def strides_of_all(function, cases, inputs):
    """What `all_strides` finds, of every case."""
    outputs = function(inputs)
    ys = [y for y, *_ in outputs]
    everything = [t for i in inputs for t in i]
    gradients = iter(torch.autograd.grad(ys, everything, [ones(y) for y in ys]))
    found = {}
    for case, outs, (_, *parameters) in zip(cases, outputs, inputs, strict=True):
        dx, *others = next(gradients), *(next(gradients) for _ in parameters)
        others = [elementwise_like(g).stride() for g in others]
        found[case.id] = [*(y.stride() for y in outs), dx.stride(), *others]
    return found


def output_strides(function, cases, inputs):
    outputs = function(inputs)
    return {case.id: [y.stride() for y in ys] for case, ys in zip(cases, outputs, strict=True)}


@in_memory
def test_compiled(image, layout):
    """As the twin compiled by the same backend, which makes upstream gradients lie as outputs."""
    cases = [case for case in ONE_PER_OPERATOR if image in case.images]
    inputs = [case.inputs(image, layout) for case in cases]
    ours, theirs = (strides_of_all(compiled(Together(cases, nn)), cases, inputs) for nn in (L, F))
    assert ours == theirs


@pytest.mark.parametrize("layout", [contiguous, last])
def test_compiled_for_any_batch(layout):
    """The rules are asked of symbols instead of numbers."""
    cases = [case for case in ONE_PER_OPERATOR if PLAIN in case.images]
    function = compiled(Together(cases, L))
    for batch in (2, 5):
        inputs = [case.inputs((batch, *PLAIN[1:]), layout) for case in cases]
        for x, *_ in inputs:
            torch._dynamo.mark_dynamic(x, 0)
        theirs = output_strides(Together(cases, F), cases, inputs)
        assert output_strides(function, cases, inputs) == theirs


@in_memory
def test_exported(image, layout):
    cases = [case for case in ONE_PER_OPERATOR if image in case.images]
    inputs = [[t.detach() for t in case.inputs(image, layout)] for case in cases]
    program = torch.export.export(Together(cases, L), (inputs,)).module()
    assert output_strides(program, cases, inputs) == output_strides(
        Together(cases, F), cases, inputs
    )


@table(CASES)
def test_fake_tensors_have_the_strides_of_real_ones(case):
    for image, layout, upstream in product(case.images, [contiguous, last], [contiguous, ones]):
        if image == EMPTY:  # torch's elementwise operators do not agree with themselves
            continue
        found = []
        for mode in (nullcontext(), FakeTensorMode()):
            with mode:
                inputs = case.inputs(image, layout)
                found.append(all_strides(lambda *i: case.function(L, *i), inputs, upstream))
        assert found[0] == found[1], (image, layout.__name__, upstream.__name__)


class Tutorial(torch.nn.Module):
    """The network of PyTorch's tutorial "Training a Classifier"."""

    def __init__(self, nn):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool, self.relu = nn.MaxPool2d(2, 2), nn.ReLU()
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2, self.fc3 = nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


@pytest.mark.parametrize(
    ("batch", "backend"), [(0, None), (1, None), (4, None), (4, "aot_eager"), (4, "inductor")]
)
def test_the_tutorial_s_network_views_its_last_maps(batch, backend):
    ours, theirs = Tutorial(layers), Tutorial(torch.nn)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, 3, 32, 32, requires_grad=True)
    function = compiled(ours, backend) if backend else ours
    y, expected = function(x), theirs(x)
    assert y.stride() == expected.stride()
    assert_close(y, expected)
    (dx,), (expected,) = (torch.autograd.grad(y.sum(), x) for y in (y, expected))
    assert dx.stride() == expected.stride()


def test_is_channels_last_is_suggest_memory_format():
    """Asked of torch by an operator whose output lies so; strides at random, many of them tied."""
    answers = set()
    for _ in range(3000):
        image = [random.choice([1, 1, 2, 3]) for _ in range(4)]
        order, step = random.choice([[0, 2, 3, 1], random.sample(range(4), 4)]), 1
        strides = [0] * 4
        for dimension in reversed(order):
            strides[dimension], step = step, step * image[dimension] * random.choice([1, 1, 1, 2])
        if random.random() < 0.2:
            strides[random.randrange(4)] = random.choice([0, 1, 2, 6])
        x = torch.empty_strided(image, strides)
        formats = [
            torch.empty(image, memory_format=f)
            for f in (torch.contiguous_format, torch.channels_last)
        ]
        plain, last_ = (t.stride() for t in formats)
        if plain != last_:
            answer = F.avg_pool2d(x, 1).stride() == last_
            assert is_channels_last(x) == answer, (image, strides)
            answers.add((answer, x.is_contiguous()))
        assert elementwise_like(x).stride() == torch.relu(x).stride(), (image, strides)
    assert answers == {(True, True), (True, False), (False, True), (False, False)}
