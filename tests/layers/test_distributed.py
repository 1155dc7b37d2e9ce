"""DistributedDataParallel: two processes with half a batch each find the gradients of the whole."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import layers
from tests.layers.test_contract import LAYERS

PROCESSES = 2


def test_each_layer_under_distributed_data_parallel(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # the machine alone, no network
    torch.multiprocessing.spawn(_process, (str(tmp_path / "rendezvous"),), PROCESSES)


def _process(rank: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES
    )
    for case in LAYERS:
        if case.id == "BatchNorm2d-batch":  # statistics of half a batch are not the whole's
            continue
        name, layer, image = case.id, case.build(), case.image[1:]
        torch.manual_seed(0)
        before = layers.Conv2d(4, 4, 1)  # so that every network has parameters
        network = torch.nn.Sequential(before, layer).double()
        images = torch.randn(2 * PROCESSES, *image, dtype=torch.float64)
        network(images).square().mean().backward()
        whole = [p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        part = images.chunk(PROCESSES)[rank]
        parallel = DistributedDataParallel(network)
        parallel(part).square().mean().backward()
        for parameter, expected in zip(network.parameters(), whole, strict=True):
            assert_close(parameter.grad, expected, msg=lambda text, name=name: f"{name}: {text}")
    _batch_norm_keeps_its_statistics_alike(rank)
    dist.destroy_process_group()


def _batch_norm_keeps_its_statistics_alike(rank: int) -> None:
    """In training, as torch.nn's: the first process's statistics are everybody's."""
    found = []
    for nn in (layers, torch.nn):
        network = DistributedDataParallel(nn.BatchNorm2d(4).double())
        for step in range(2):
            generator = torch.Generator().manual_seed(PROCESSES * step + rank)
            x = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=generator)
            network(x).square().mean().backward()
        tensors = {
            **dict(network.module.named_parameters()),
            **dict(network.module.named_buffers()),
        }
        found.append([*tensors.values(), *(p.grad for p in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)
