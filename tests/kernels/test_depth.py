"""How far it is from a layer to the product that computes it, and what a training step costs."""

import sys
import traceback
from pathlib import Path

import pytest
import torch

import layers
import models

ROOT = Path(layers.__file__).parent
MAX_FRAMES = 8
MAX_CALLS = 1366  # of Python's functions, in a training step of LeNet


def frames_at_the_product(layer, x):
    """The files and functions of layers/ on the stack when torch.bmm is called first."""
    stacks = []

    bmm = torch.bmm

    def watched(*args, **kwargs):
        stacks.append(traceback.extract_stack())
        return bmm(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "bmm", watched)
        layer(x)
    return [
        f"layers/{Path(frame.filename).relative_to(ROOT)}:{frame.lineno} {frame.name}"
        for frame in stacks[0]
        if ROOT in Path(frame.filename).parents
    ]


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "definitions"])
@pytest.mark.parametrize(
    ("layer", "size"),
    [(layers.Conv2d(64, 64, 3, padding=1), 56), (layers.Conv2d(3, 6, 5), 32)],
    ids=["Conv2d(64, 64, 3, padding=1)", "Conv2d(3, 6, 5)"],
)
def test_few_frames_lie_between_a_layer_and_its_product(layer, size, kernels):
    with layers.backends.kernels.flags(kernels):
        frames = frames_at_the_product(layer, torch.randn(1, layer.in_channels, size, size))
    print(*frames, sep="\n")
    assert len(frames) <= MAX_FRAMES


def test_a_training_step_of_lenet_makes_few_python_calls():
    model, images = models.build("lenet", num_classes=10), torch.randn(8, 1, 32, 32)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    criterion = layers.CrossEntropyLoss()
    targets = torch.randint(10, (8,))
    calls = 0

    def step():
        optimizer.zero_grad()
        criterion(model(images), targets).backward()
        optimizer.step()

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    step()
    sys.setprofile(count)
    try:
        step()
    finally:
        sys.setprofile(None)
    print(calls, "calls")
    assert calls <= MAX_CALLS
