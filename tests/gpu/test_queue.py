"""A GPU's queue: several streams at once, work recorded as a graph, and nobody who waits for it."""

import copy

import pytest
import torch

import models
from analysis import accuracy
from tests.gpu.test_operators import LARGER

NETWORKS = {"lenet": (16, 1, 32, 32), "resnet20": (8, 3, 32, 32)}
ROUNDS = 20


class Step:
    """Forward, loss, backward, SGD, always on the same images."""

    def __init__(self, name, device):
        torch.manual_seed(0)
        channels = NETWORKS[name][1]
        self.model = models.build(name, num_classes=10, in_channels=channels).to(device)
        self.criterion = models.criterion(self.model).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9)
        self.x = torch.randn(NETWORKS[name]).to(device)
        self.targets = torch.arange(len(self.x), device=device) % 10

    def __call__(self):
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.x), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def captured(step, device):
    """The step as a graph to be replayed, after three warm-up steps; on a CPU the step itself."""
    if device == "cpu":
        for _ in range(3):
            step()
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    step.optimizer.zero_grad()
    with torch.cuda.graph(graph):
        loss = step()

    def replay():
        graph.replay()
        return loss.clone()

    return replay


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_as_a_graph(name, device):
    eager, step = Step(name, device), Step(name, device)
    for _ in range(3):
        eager()
    replay = captured(step, device)
    for _ in range(4):
        expected, found = eager(), replay()
        assert accuracy.error(found, expected) <= 1e-4
    for (key, expected), found in zip(
        eager.model.state_dict().items(), step.model.state_dict().values(), strict=True
    ):
        assert accuracy.error(found, expected) <= 1e-3, key


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_waits_for_nothing(name, device):
    step = Step(name, device)
    step()
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", LARGER, ids=[case.id for case in LARGER])
def test_two_streams_at_once(case, device):
    """What a kernel works in belongs to one call, also while another stream runs the same layer."""
    first = case.build().to(device)
    pairs = [(layer, torch.randn(case.image).to(device)) for layer in (first, copy.deepcopy(first))]
    inputs = [x.requires_grad_() for _, x in pairs]
    alone = [_step(layer, x) for layer, x in pairs]
    streams = [torch.cuda.Stream() if device == "cuda" else None for _ in pairs]
    if device == "cuda":
        torch.cuda.synchronize()
    found = [[], []]
    for _ in range(ROUNDS if device == "cuda" else 1):
        for results, stream, (layer, _), x in zip(found, streams, pairs, inputs, strict=True):
            with torch.cuda.stream(stream):
                results.append(_step(layer, x))
    if device == "cuda":
        torch.cuda.synchronize()
    for results, expected in zip(found, alone, strict=True):
        for result in results:
            for a, b in zip(result, expected, strict=True):
                assert accuracy.error(a, b) <= 1e-5


def _step(layer, x):
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, (x, *layer.parameters()), torch.ones_like(y))]


@pytest.mark.parametrize("case", LARGER[:4], ids=[case.id for case in LARGER[:4]])
def test_the_same_sum_every_time(case, device):
    layer, x = case.build().to(device), torch.randn(case.image).to(device).requires_grad_()
    expected = _step(layer, x)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(_step(layer, x), expected, strict=True))
