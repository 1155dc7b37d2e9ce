"""Forward derivatives that are kept and called again: torch.func.linearize, and vmap of a jvp."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, jvp, linearize, vmap
from torch.testing import assert_close
from torch.utils._pytree import tree_map

import layers.functional as L
from tests.layers.test_contract import each_layer


def assert_answers_as(theirs, ours, primal):
    """The linear map of ours, called three times, is the derivative of theirs.

    linearize keeps all that does not depend on the tangent, and replays the rest: what was written
    in place, it would write again.
    """
    tangent = tree_map(torch.randn_like, primal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, derivative = linearize(ours, primal)
    answer = jvp(theirs, (primal,), (tangent,))[1]
    for factor in (1, 1, 2):
        found = derivative(tree_map(lambda t, factor=factor: factor * t, tangent))
        assert_close(found, factor * answer)


@each_layer
def test_a_layer_answers_the_same_every_time(case):
    layer, twin, x = case.build(), case.build(torch.nn), torch.randn(case.image)
    assert_answers_as(twin, layer, x)
    parameters = {k: v.detach() for k, v in layer.named_parameters()}
    if parameters:
        assert_answers_as(
            lambda p: functional_call(twin, p, (x,)),
            lambda p: functional_call(layer, p, (x,)),
            parameters,
        )


CLASSES, WEIGHT = torch.tensor([0, 3]), torch.tensor([1.0, 2.0, 0.5, 1.0])
FUNCTIONS = {
    "avg_pool2d-ceil": lambda M, x: M.avg_pool2d(x, 3, 2, ceil_mode=True),
    "avg_pool2d-padding-not-counted": lambda M, x: M.avg_pool2d(
        x, 3, 2, padding=1, count_include_pad=False
    ),
    "batch_norm": lambda M, x: M.batch_norm(x, None, None, WEIGHT, WEIGHT, training=True),
    "cross_entropy": lambda M, x: M.cross_entropy(x[..., 0, 0], CLASSES, WEIGHT),
    "cross_entropy-smooth": lambda M, x: M.cross_entropy(
        x[..., 0, 0], CLASSES, label_smoothing=0.1
    ),
    "cross_entropy-probabilities": lambda M, x: M.cross_entropy(x[..., 0, 0], torch.eye(4)[:2]),
    "local_response_norm-strided": lambda M, x: M.local_response_norm(x[..., ::2], 3, 1.0),
    "lp_pool2d-infinite": lambda M, x: (  # as torch's own since 2.12
        M.lp_pool2d(x, float("inf"), 2) if M is L else F.max_pool2d(x.abs(), 2)
    ),
    "lp_pool2d-3": lambda M, x: M.lp_pool2d(x.exp(), 3.0, 2),
    "max_unpool2d": lambda M, x: M.max_unpool2d(
        x, torch.arange(16).view(4, 4).mul(4).expand(2, 4, 4, 4), 2
    ),
    "scaled_tanh": lambda M, x: M.scaled_tanh(x) if M is L else 1.7159 * torch.tanh(2 / 3 * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_answers_the_same_every_time(name):
    f = FUNCTIONS[name]
    assert_answers_as(lambda x: f(F, x), lambda x: f(L, x), torch.randn(2, 4, 4, 4))


@each_layer
def test_vmap_of_the_forward_derivative(case):
    x, tangents = torch.randn(case.image), torch.randn(3, *case.image)
    results = []
    for layer in (case.build(), case.build(torch.nn)):
        results.append(vmap(lambda t, layer=layer: jvp(layer, (x,), (t,))[1])(tangents))
    assert_close(*results)
