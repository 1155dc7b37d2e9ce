"""Training on a GPU: the command, checkpoints, compilation, mixed precision."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import layers
import models
from analysis import accuracy
from training.checkpoints import checkpoint

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.gpu  # on a CPU, tests/test_cli.py does
def test_the_command(tmp_path):
    where = ["--device", "cuda", "--logdir", str(tmp_path)]
    command = [sys.executable, "train.py", "--model", "lenet", "--epochs", "2", *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cuda" in done.stdout
    folder = tmp_path / "lenet-digits"
    assert json.loads((folder / "metrics.json").read_text())["test_accuracy"] > 0.15


def test_random_numbers_go_on_after_a_checkpoint(device, tmp_path):
    torch.rand(3, device=device)
    torch.save(checkpoint.random_state(), tmp_path / "state.pt")
    expected = torch.rand(5, device=device)
    state = torch.load(tmp_path / "state.pt", map_location="cpu", weights_only=True)
    checkpoint.restore_random_state(state)
    assert torch.equal(torch.rand(5, device=device), expected)


def test_a_compiled_network(device):
    """By Inductor on a GPU; on a CPU, where that takes long, by what it stands on."""
    if device == "cuda" and shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("Inductor needs a C compiler")
    torch.manual_seed(0)
    network = models.build("lenet", num_classes=10).to(device)
    x = torch.randn(8, 1, 32, 32).to(device)
    targets = torch.arange(8, device=device)
    backend = "inductor" if device == "cuda" else "aot_eager"
    compiled = torch.compile(network, fullgraph=True, backend=backend)
    found, expected = (_gradients(f, network, x, targets) for f in (compiled, network))
    errors = accuracy.errors(found, expected, least=1e-6)
    assert accuracy.worst(errors) <= 1e-3, errors


def _gradients(f, network, x, targets):
    network.zero_grad()
    loss = models.criterion(network)(f(x), targets)
    loss.backward()
    return {"loss": loss, **{n: p.grad.clone() for n, p in network.named_parameters()}}


@pytest.mark.parametrize("name", ["lenet", "resnet20", "alexnet", "googlenet"])
def test_both_layer_sets_learn_the_same(name, device):
    """Losses of five steps from the same weights, without dropout."""
    losses = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        size = {"alexnet": 67, "googlenet": 47}.get(name, 32)
        network = models.build(name, nn=nn, num_classes=10, in_channels=1, image_size=size)
        network.to(device)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        criterion = models.criterion(network, nn).to(device)
        own = hasattr(network, "criterion")
        optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
        x = torch.randn(16, 1, size, size).to(device)
        targets = torch.arange(16, device=device) % 10
        curve = []
        for _ in range(5):
            output = network(x)
            loss = criterion(output if own else models.logits(output), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.detach())
        losses.append(torch.stack(curve))
    assert accuracy.error(*losses) <= 1e-3


def test_float16_with_a_scaler(device):
    losses = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        network = models.build("lenet", nn=nn, num_classes=10).to(device)
        optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9)
        scaler = torch.amp.GradScaler(device)
        x, targets = torch.randn(64, 1, 32, 32).to(device), torch.arange(64, device=device) % 10
        for _ in range(5):
            with torch.autocast(device, torch.float16):
                loss = models.criterion(network, nn)(network(x), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(loss.detach())
    assert accuracy.error(*losses) <= 2e-2
