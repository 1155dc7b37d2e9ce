"""Does Winograd's rounding change training?  ResNet-20 on digits, three ways from the same weights.

    python docs/examples/winograd_curves.py

Prints the mean training loss of every epoch and the test accuracy, over three seeds.
"""

import statistics
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))
import layers
import models

EPOCHS, SEEDS, BATCH, TEST = 5, 3, 32, 360
WAYS = {"im2col": layers, "auto": layers, "torch.nn": torch.nn}


def curve(algorithm: str, seed: int) -> list[float]:
    """The loss of each epoch, and at the end the test accuracy in per cent."""
    digits = load_digits()
    x = F.interpolate(torch.tensor(digits.images[:, None] / 8 - 1).float(), size=16)
    targets = torch.tensor(digits.target)
    torch.manual_seed(seed)
    network = models.build(
        "resnet20", nn=WAYS[algorithm], num_classes=10, in_channels=1, image_size=16
    )
    for module in network.modules():
        if isinstance(module, layers.Conv2d):
            module.algorithm = algorithm
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9)
    losses = []
    for _ in range(EPOCHS):
        steps = []
        for batch in torch.randperm(len(x) - TEST).split(BATCH):
            loss = F.cross_entropy(network(x[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(loss.item())
        losses.append(statistics.mean(steps))
    with torch.no_grad():
        right = network.eval()(x[-TEST:]).argmax(1) == targets[-TEST:]
    return [*losses, 100 * right.double().mean().item()]


print("seed  convolution " + "".join(f"  epoch {e}" for e in range(1, EPOCHS + 1)) + "  accuracy")
for seed in range(SEEDS):
    for algorithm in WAYS:
        *losses, accuracy = curve(algorithm, seed)
        print(f"{seed:4}  {algorithm:12}" + "".join(f"{v:9.4f}" for v in losses), end="")
        print(f"{accuracy:10.2f}", flush=True)
