"""From one CPU core to 64 nodes of eight GPUs: what a training step moves and how long that takes.

    python docs/examples/scaling.py

Prints the tables of docs/scaling.md.  Counts (FLOPs, parameters, bytes) come from the networks
themselves, on meta tensors; images per second on one device were measured (MEASURED, see
docs/gpu.md and the command in docs/scaling.md); the machine is described by CLUSTER.  All else is
computed from these.
"""

import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2]))
import layers
import models
from analysis.predicted_memory import largest_batch, predict

GPUS_PER_NODE = 8
MACHINES = 2, 8, 64  # with one process each, over gloo
MEMORY = 80e9  # bytes of a GPU


@dataclass(frozen=True)
class Measured:
    network: str
    image_size: int
    batch: int  # images per GPU
    gpu: float  # images per second in training on one H200, torch.nn's layers in tf32


MEASURED = (
    Measured("alexnet", 227, 256, 9039),
    Measured("vgg16", 224, 64, 1725),
    Measured("googlenet", 224, 128, 3172),
    Measured("resnet50", 224, 128, 2977),
)


@dataclass(frozen=True)
class Cluster:
    """Bytes per second and seconds, as vendors state them for a node of eight H100 or H200."""

    within_node: float = 450e9  # NVLink 4, each way, per GPU
    between_nodes: float = 50e9  # 400 Gbit/s per GPU, each way
    latency: float = 10e-6  # of one message between nodes
    image: float = 110e3  # bytes of a JPEG: ImageNet's 138 GB over 1.28 million images


CLUSTER = Cluster()


@dataclass(frozen=True)
class Counts:
    parameters: int
    forward: int  # FLOPs per image, a multiply-add is two
    step: int  # forward and backward

    @property
    def gradients(self) -> int:
        """Bytes, float32."""
        return 4 * self.parameters


@cache
def count(network: str, image_size: int) -> Counts:
    with torch.device("meta"):
        model = models.build(network)
        x = torch.empty(1, 3, image_size, image_size)
        targets = torch.empty(1, dtype=torch.int64)
    criterion = models.criterion(model, layers)
    of_all_heads = hasattr(model, "criterion")  # GoogLeNet's takes its auxiliary classifiers
    with FlopCounterMode(display=False) as forward:
        output = model(x)
        loss = criterion(output if of_all_heads else models.logits(output), targets)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    parameters = sum(p.numel() for p in model.parameters())
    flops = forward.get_total_flops()
    return Counts(parameters, flops, flops + backward.get_total_flops())


def all_reduce_seconds(size: int, nodes: int, cluster: Cluster = CLUSTER) -> float:
    """Sum `size` bytes over all GPUs: a ring inside each node, then between the nodes.

    Within a node each GPU sends 7/8 of the bytes to reduce-scatter and as many to all-gather; in
    between it sums its eighth with its peers of the other nodes, which takes 2 (M - 1) / M of that
    eighth in 2 (M - 1) messages.
    """
    share = (GPUS_PER_NODE - 1) / GPUS_PER_NODE
    inside = 2 * share * size / cluster.within_node
    eighth, messages = size / GPUS_PER_NODE, 2 * (nodes - 1)
    between = messages / nodes * eighth / cluster.between_nodes + messages * cluster.latency
    return inside + between


def efficiency(compute: float, exchange: float) -> tuple[float, float]:
    """Of what the GPUs could do: all of the exchange waited for, and hidden behind backward.

    DistributedDataParallel exchanges gradients while the backward pass, two thirds of a step,
    computes those of earlier layers.
    """
    hidden = max(0.0, exchange - compute * 2 / 3)
    return compute / (compute + exchange), compute / (compute + hidden)


def memory_row(m: Measured) -> list[str]:
    image = (3, m.image_size, m.image_size)
    model = partial(models.build, m.network)
    step = predict(model, (m.batch, *image))
    largest = largest_batch(model, image, MEMORY).size
    kept = 3 * count(m.network, m.image_size).parameters * 4
    return [f"`{m.network}`", str(m.batch), f"{kept / 1e9:.2f}", f"{step.peak / 1e9:.2f}",
            f"{largest:,}"]  # fmt: skip


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main() -> None:
    counts = {m.network: count(m.network, m.image_size) for m in MEASURED}
    print_table(
        "Counted",
        ["", "parameters", "GFLOPs forward", "GFLOPs a step", "gradients, MB"],
        [
            [f"`{name}`", f"{c.parameters:,}", f"{c.forward / 1e9:.2f}", f"{c.step / 1e9:.2f}",
             f"{c.gradients / 1e6:.0f}"]
            for name, c in counts.items()
        ],
    )  # fmt: skip
    print_table(
        "One GPU, measured, and what follows from it",
        ["", "batch", "images/s", "step, ms", "TFLOP/s", "JPEG, MB/s"],
        [
            [f"`{m.network}`", str(m.batch), f"{m.gpu:,.0f}", f"{1e3 * m.batch / m.gpu:.1f}",
             f"{counts[m.network].step * m.gpu / 1e12:.0f}", f"{m.gpu * CLUSTER.image / 1e6:,.0f}"]
            for m in MEASURED
        ],
    )  # fmt: skip
    print_table(
        f"Memory, predicted for our layers on a CPU; {MEMORY / 1e9:.0f} GB",
        ["", "images", "weights, gradients, momentum, GB", "peak of a step, GB", "largest batch"],
        [memory_row(m) for m in MEASURED],
    )
    for m in MEASURED:
        compute, gradients = m.batch / m.gpu, counts[m.network].gradients
        rows = []
        for nodes in (1, 2, 8, 64):
            gpus = nodes * GPUS_PER_NODE
            exchange = all_reduce_seconds(gradients, nodes)
            exposed, hidden = efficiency(compute, exchange)
            sent = 2 * (gpus - 1) / gpus * gradients
            rows.append([
                f"{nodes} x {GPUS_PER_NODE}", f"{gpus * m.batch:,}", f"{sent / 1e6:,.0f}",
                f"{1e3 * exchange:.2f}", f"{exposed:.0%} to {hidden:.0%}",
                f"{gpus * m.gpu * exposed:,.0f} to {gpus * m.gpu * hidden:,.0f}",
                f"{GPUS_PER_NODE * m.gpu * CLUSTER.image / 1e9:.1f}",
            ])  # fmt: skip
        head = ["nodes x GPUs", "global batch", "sent per GPU, MB", "all-reduce, ms",
                "efficiency", "images/s", "JPEG per node, GB/s"]  # fmt: skip
        print_table(f"`{m.network}`, computed", head, rows)
    print_table(
        "A ring of machines with 10 Gbit/s, computed: seconds for an all-reduce",
        ["", *(f"{n} machines" for n in MACHINES)],
        [
            [f"`{name}`", *(f"{2 * (n - 1) / n * c.gradients / 1.25e9:.3f}" for n in MACHINES)]
            for name, c in {"resnet20": count("resnet20", 32), **counts}.items()
        ],
    )


if __name__ == "__main__":
    main()
