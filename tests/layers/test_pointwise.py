"""Fully connected layer, activations and loss."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap
from torch.testing import assert_close

import layers
import layers.functional as L
from tests import reference
from tests.cases import assert_same_step, doubles, since

LARGER_BIAS = since("2.11", "a bias has no more dimensions than a row, if there are several")


def all_derivatives(f, *inputs):
    assert gradcheck(f, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, inputs)


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (0, 5), (2, 3, 5), (5,)], ids=str)
def test_linear_equals_torch_and_the_definition(shape):
    x, weight, bias = doubles(shape, (3, 5), 3)
    ours, theirs = L.linear(x, weight, bias), F.linear(x, weight, bias)
    if len(shape) == 2:
        assert_close(ours, reference.linear(x, weight, bias))
    assert_same_step(ours, theirs, (x, weight, bias), torch.randn_like(theirs))


@pytest.mark.parametrize(
    ("shape", "bias"),
    [
        ((2, 3), (2, 1)),
        ((2, 3), (2, 2)),
        ((2, 3), (1, 2)),
        ((2, 3), (1,)),
        ((2, 3), ()),
        ((3,), (1,)),
        ((3,), ()),
        ((3,), (1, 2)),
        pytest.param((4, 2, 3), (2, 2), marks=LARGER_BIAS),
        pytest.param((4, 2, 3), (4, 2, 1), marks=LARGER_BIAS),
        pytest.param((4, 2, 3), (4, 2, 2), marks=LARGER_BIAS),
        ((4, 2, 3), ()),
        ((5, 4, 2, 3), (2, 2)),
    ],
    ids=str,
)
def test_linear_biases_broadcast_as_torch_s(shape, bias):
    inputs = doubles(shape, (2, 3), bias)
    ours, theirs = L.linear(*inputs), F.linear(*inputs)
    assert_same_step(ours, theirs, inputs, torch.randn_like(theirs))


@pytest.mark.parametrize("bias", [(3,), (0,), (3, 1), (3, 2), (1, 4, 2)], ids=str)
def test_linear_biases_that_do_not_broadcast(bias):
    for nn in (L, F):
        with pytest.raises(RuntimeError):
            nn.linear(torch.ones(4, 3), torch.ones(2, 3), torch.ones(bias))


def test_a_single_output_of_linear_takes_no_bias():
    x, weight = torch.randn(4, 3), torch.randn(3)
    assert_close(L.linear(x, weight), F.linear(x, weight))
    for nn in (L, F):
        with pytest.raises(RuntimeError):
            nn.linear(x, weight, torch.ones(1))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.bool, torch.float32], ids=str)
def test_class_indices_are_int64_or_uint8(dtype):
    logits, classes = torch.randn(4, 3), torch.tensor([0, 1, 1, 0])
    assert_close(
        L.cross_entropy(logits, classes.to(torch.uint8)),
        F.cross_entropy(logits, classes.to(torch.uint8)),
    )
    for nn in (L, F):
        with pytest.raises(RuntimeError):
            nn.cross_entropy(logits, classes.to(dtype))


@pytest.mark.parametrize(
    ("shape", "weight"),
    [
        ((0, 4), (5, 4)),
        ((3, 0), (5, 0)),
        ((3, 4, 0), (5, 0)),
        ((0,), (5, 0)),
        ((3, 4), (0, 4)),
        ((2, 0, 4), (5, 4)),
        ((0, 0), (0, 0)),
        ((0,), (0, 0)),
        ((2, 3, 0), (0, 0)),
    ],
    ids=str,
)
def test_linear_of_nothing(shape, weight):
    inputs = doubles(shape, weight, weight[:1])
    ours, theirs = L.linear(*inputs), F.linear(*inputs)
    assert_same_step(ours, theirs, inputs, torch.randn_like(theirs))


def test_linear_with_a_single_output_without_a_dimension():
    for shape in ((4,), (2, 4), (3, 2, 4)):
        inputs = doubles(shape, (4,))
        ours, theirs = L.linear(*inputs), F.linear(*inputs)
        assert_same_step(ours, theirs, inputs, torch.randn_like(theirs))


def test_linear_derivatives():
    x, weight, bias = doubles((4, 5), (3, 5), 3)
    all_derivatives(L.linear, x, weight, bias)
    all_derivatives(lambda x, weight: L.linear(x, weight), x, weight)


def test_linear_trio_is_one_trilinear_form():
    x, weight, g = doubles((4, 5), (3, 5), (4, 3), requires_grad=False)
    scalar = (g * L.linear(x, weight)).sum()
    assert_close((x * L.linear_input(weight, g)).sum(), scalar)
    assert_close((weight * L.linear_weight(x, g)).sum(), scalar)


def test_linear_of_transposed_and_expanded_tensors():
    (x,) = doubles((5, 4))
    (weight,) = doubles((5, 3))
    assert_close(L.linear(x.T, weight.T), F.linear(x.T, weight.T))
    assert_close(
        L.linear(x[:1].expand(6, 4), weight[:4].T), F.linear(x[:1].expand(6, 4), weight[:4].T)
    )


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_activations(name):
    (x,) = doubles((3, 4))
    ours, theirs = getattr(L, name), getattr(torch, name)
    special = torch.tensor([-torch.inf, -1.0, -0.0, 0.0, 1e-300, 2.0, torch.inf, torch.nan])
    assert_close(ours(special), theirs(special), equal_nan=True)
    all_derivatives(ours, x)
    for shape in ((0, 3), (2, 3, 4, 5)):
        (x,) = doubles(shape)
        grad = torch.randn_like(x)
        assert_close(*(torch.autograd.grad(f(x), x, grad)[0] for f in (ours, theirs)))


def test_an_infinite_gradient_stops_at_a_closed_gate():
    x = torch.tensor([-1.0, 0.0, 2.0, torch.nan], requires_grad=True)
    upstream = torch.full((4,), torch.inf)
    assert_close(*(torch.autograd.grad(f(x), x, upstream)[0] for f in (L.relu, torch.relu)))


def test_relu_has_no_slope_at_zero():
    x = torch.zeros(3, requires_grad=True)
    L.relu(x).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


LOSS_OPTIONS = [
    dict(),
    dict(reduction="sum"),
    dict(reduction="none"),
    dict(label_smoothing=0.1),
    dict(weight=torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)),
    dict(weight=torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64), label_smoothing=0.3),
    dict(weight=torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64), reduction="sum"),
    dict(ignore_index=2),
]


@pytest.mark.parametrize("options", LOSS_OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(5, 4), (1, 4), (4,), (3, 4, 2), (3, 4, 2, 2)], ids=str)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_cross_entropy_equals_torch(shape, kind, options):
    (logits,) = doubles(shape)
    if kind == "probabilities":
        target = torch.rand(shape, dtype=torch.float64).softmax(0 if len(shape) == 1 else 1)
        options = {k: v for k, v in options.items() if k != "ignore_index"}
    else:
        target = torch.randint(4, shape[:1] + shape[2:] if len(shape) > 1 else ())
        if "ignore_index" in options:
            target.view(-1)[:1] = 1  # so that something is left to count
    ours, theirs = (f(logits, target, **options) for f in (L.cross_entropy, F.cross_entropy))
    assert_close(ours, theirs)
    grad = torch.ones_like(theirs)
    assert_close(*(torch.autograd.grad(loss, logits, grad)[0] for loss in (ours, theirs)))


def test_cross_entropy_equals_the_definition():
    logits, q = doubles((4, 3), (4, 3), requires_grad=False)
    assert_close(L.cross_entropy(logits, q, reduction="none"), reference.cross_entropy(logits, q))


def test_cross_entropy_derivatives():
    logits, q = doubles((4, 3), (4, 3))
    all_derivatives(lambda z, q: L.cross_entropy(z, q, label_smoothing=0.1), logits, q)
    all_derivatives(lambda z: L.cross_entropy(z, torch.tensor([0, 2, 1, 1])), logits)


def test_cross_entropy_of_an_impossible_class():
    logits = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    for options in ({}, dict(weight=torch.tensor([1.0, 2.0, 3.0]))):
        ours, theirs = (
            f(logits, torch.tensor([0]), **options) for f in (L.cross_entropy, F.cross_entropy)
        )
        assert_close(ours, theirs)
        assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_cross_entropy_per_sample_gradients_autocast_and_byte_targets():
    logits, targets = torch.randn(5, 4), torch.tensor([0, 3, 1, 2, -100])
    together = [vmap(grad(f))(logits[:4], targets[:4]) for f in (L.cross_entropy, F.cross_entropy)]
    assert_close(*together)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (f(logits.bfloat16(), targets) for f in (L.cross_entropy, F.cross_entropy))
    assert ours.dtype == theirs.dtype == torch.float32
    assert_close(L.cross_entropy(logits[:4], targets[:4].byte()), F.cross_entropy(logits, targets))
    compiled = torch.compile(L.cross_entropy, fullgraph=True, backend="aot_eager")
    assert_close(compiled(logits, targets), F.cross_entropy(logits, targets))


def test_cross_entropy_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, 0.0], [-1e4, 1e4]], requires_grad=True)
    loss = L.cross_entropy(logits, torch.tensor([1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(5e3)
    assert torch.isfinite(logits.grad).all()


LOGITS, CLASSES = torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("error", "words", "function", "arguments", "options"),
    [
        (RuntimeError, "do not fit", L.linear, (LOGITS, torch.ones(4, 5)), {}),
        (RuntimeError, "one dtype", L.linear, (LOGITS.double(), torch.ones(4, 3)), {}),
        (ValueError, "inplace", L.relu, (LOGITS,), dict(inplace=True)),
        (ValueError, "need class indices", L.cross_entropy, (LOGITS, CLASSES[:1]), {}),
        (ValueError, "shaped like", L.cross_entropy, (LOGITS, torch.ones(3, 3)), {}),
        (ValueError, "reduction", L.cross_entropy, (LOGITS, CLASSES), dict(reduction="max")),
        (ValueError, "retired", L.cross_entropy, (LOGITS, CLASSES), dict(size_average=True)),
        (ValueError, "0 and 1", L.cross_entropy, (LOGITS, CLASSES), dict(label_smoothing=2)),
        (IndexError, "0 to 2", L.cross_entropy, (LOGITS, CLASSES + 3), {}),
        (IndexError, "0 to 2", L.cross_entropy, (LOGITS, CLASSES - 1), {}),
        (RuntimeError, "4 biases", L.linear, (LOGITS, torch.ones(4, 3), torch.ones(3)), {}),
    ],
)
def test_errors(error, words, function, arguments, options):
    with pytest.raises(error, match=words):
        function(*arguments, **options)


W = torch.ones(3)


@pytest.mark.parametrize(
    ("input", "target", "options"),
    [
        *((LOGITS, CLASSES, dict(weight=torch.ones(s))) for s in ((), (1,), (2,), (2, 1), (2, 3))),
        *((LOGITS, LOGITS, dict(weight=torch.ones(s))) for s in ((), (1,), (2,), (2, 1), (2, 3))),
        (LOGITS[0], CLASSES[0], dict(weight=torch.ones(3, 1))),
        (LOGITS, CLASSES, dict(weight=W.double())),
        (LOGITS.double(), CLASSES, dict(weight=W, label_smoothing=0.1)),
        (LOGITS, CLASSES, dict(weight=W.long())),
        (LOGITS, CLASSES, dict(weight=W + 0j)),
        (LOGITS, LOGITS, dict(ignore_index=1)),
        (LOGITS, LOGITS, dict(ignore_index=7, label_smoothing=0.1)),
        (LOGITS, LOGITS + 0j, {}),
        (LOGITS + 0j, CLASSES, {}),
        (LOGITS.long(), CLASSES, {}),
        (LOGITS[0, 0], CLASSES[0], {}),
        (LOGITS[0, 0], LOGITS[0, 0], {}),
        (LOGITS[0, 0], CLASSES[:1], {}),
        (LOGITS[0], CLASSES, {}),
        (LOGITS[0], LOGITS[0].long(), {}),
        (LOGITS, CLASSES[0], {}),
        (LOGITS, CLASSES[:1], {}),
        (LOGITS, CLASSES[:, None], {}),
        (LOGITS, LOGITS.long(), {}),
        (LOGITS, LOGITS[:, 0], {}),
        (LOGITS, torch.ones(2, 4), {}),
        (LOGITS[..., None], CLASSES, {}),
        (torch.ones(2, 0), CLASSES, {}),
    ],
)
def test_cross_entropy_refuses_what_torch_refuses(input, target, options):
    with pytest.raises((IndexError, RuntimeError, ValueError)) as theirs:
        F.cross_entropy(input, target, **options)
    with pytest.raises(theirs.type):
        L.cross_entropy(input, target, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_cross_entropy_with_probabilities_promotes_as_torch_s(dtype, smoothing):
    logits, q, weight = torch.randn(4, 3), torch.rand(4, 3), torch.rand(3)
    for arguments in ((logits, q.to(dtype)), (logits, q, weight.to(dtype)), (logits, q, weight)):
        ours, theirs = (
            f(*arguments, ignore_index=-1, label_smoothing=smoothing)
            for f in (L.cross_entropy, F.cross_entropy)
        )
        assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (0,), (4, 3, 0)], ids=str)
def test_cross_entropy_of_nothing(shape, reduction):
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros(shape)
    ours, theirs = (
        f(logits, target, reduction=reduction) for f in (L.cross_entropy, F.cross_entropy)
    )
    assert_same_step(ours, theirs, logits, torch.ones_like(theirs))


def test_cross_entropy_of_one_image_takes_its_class_with_a_dimension():
    logits, target = torch.randn(3), torch.tensor([2])
    for reduction in ("mean", "none"):
        ours, theirs = (
            f(logits, target, reduction=reduction) for f in (L.cross_entropy, F.cross_entropy)
        )
        assert_close(ours, theirs)


def test_modules_are_their_twins():
    x, target = torch.randn(4, 6), torch.tensor([0, 1, 2, 5])
    for name, arguments in (("Linear", (6, 3)), ("ReLU", ()), ("Tanh", ())):
        ours, twin = getattr(layers, name)(*arguments), getattr(torch.nn, name)(*arguments)
        ours.load_state_dict(twin.state_dict())
        assert_close(ours(x), twin(x))
        assert repr(ours) == repr(twin)
    options = dict(label_smoothing=0.1, ignore_index=2, reduction="sum")
    assert_close(
        layers.CrossEntropyLoss(**options)(x, target),
        torch.nn.CrossEntropyLoss(**options)(x, target),
    )


def test_the_mean_loss_of_ignored_targets_is_nan_without_a_gradient():
    logits, targets = torch.randn(4, 5, requires_grad=True), torch.full((4,), -100)
    for f in (L.cross_entropy, F.cross_entropy):
        loss = f(logits, targets)
        assert loss.isnan()
        assert not torch.autograd.grad(loss, logits)[0].any()
