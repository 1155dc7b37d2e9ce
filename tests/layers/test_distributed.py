"""DistributedDataParallel: two processes with half a batch each find the gradients of the whole.

And `SyncBatchNorm`: two processes with any shares of a batch normalise as one does the whole.
"""

import copy

import pytest
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
    for shares in SHARES:
        for options in OPTIONS:
            _sync_batch_norm_is_that_of_the_whole(rank, shares, options)
    _sync_batch_norm_of_half_precision(rank)
    _sync_batch_norm_under_distributed_data_parallel(rank)
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


SHARES = (3, 2), (1, 4), (0, 3), (2, 0), (1, 1)  # images of each process
OPTIONS = {}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}


def _sync_batch_norm_is_that_of_the_whole(rank: int, shares: tuple, options: dict) -> None:
    """Outputs, running averages, gradients of both orders, in float64, to 1e-12."""
    torch.manual_seed(0)
    whole = layers.BatchNorm2d(3, **options).double()
    for parameter in whole.parameters():
        torch.nn.init.normal_(parameter)
    ours = layers.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(whole))
    assert type(ours) is layers.SyncBatchNorm
    here = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x, w = torch.randn(2, sum(shares), 3, 4, 5, dtype=torch.float64)
        x = (3 + x).contiguous(memory_format=memory_format)
        found = []
        for layer, image, weight in ((whole, x, w), (ours, x[here], w[here])):
            layer.train().zero_grad()
            image = image.clone(memory_format=memory_format).requires_grad_()
            y = layer(image)
            (dx,) = torch.autograd.grad((y * weight).sum(), image, create_graph=True)
            dx.square().sum().backward()
            parameters = [p.grad for p in layer.parameters() if p.grad is not None]
            images = [y, dx, image.grad]
            if layer is ours:
                for grad in parameters:
                    dist.all_reduce(grad)
            else:
                images = [tensor[here] for tensor in images]
            found.append([*images, *parameters, *layer.buffers()])
        for a, b in zip(*found, strict=True):
            assert_close(a, b, rtol=1e-12, atol=1e-12, msg=lambda text: f"{shares} {text}")
        assert found[1][0].numel() == 0 or found[0][0].stride() == found[1][0].stride()
        if whole.track_running_stats:
            in_eval = whole.eval()(x), ours.eval()(x)
            assert_close(*in_eval, rtol=1e-12, atol=1e-12)


def _sync_batch_norm_of_half_precision(rank: int) -> None:
    """Statistics are float32 inside autocast, and of images in half precision."""
    torch.manual_seed(0)
    x = (10 + torch.randn(4, 3, 5, 5)).bfloat16()
    whole, ours = layers.BatchNorm2d(3), layers.SyncBatchNorm(3)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = whole(x), ours(x.chunk(PROCESSES)[rank])
    assert b.dtype == a.dtype == torch.bfloat16
    assert_close(a.chunk(PROCESSES)[rank], b, rtol=0.02, atol=0.02)
    assert_close(whole.running_var, ours.running_var)


def _sync_batch_norm_under_distributed_data_parallel(rank: int) -> None:
    """Which adds up the gradients of its parameters, on a CPU, too."""
    torch.manual_seed(0)
    whole = torch.nn.Sequential(layers.Conv2d(3, 4, 3), layers.BatchNorm2d(4), layers.ReLU())
    whole = whole.double()
    ours = layers.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(whole))
    assert list(ours.state_dict()) == list(whole.state_dict())
    x = torch.randn(2 * PROCESSES, 3, 5, 5, dtype=torch.float64)
    whole(x).square().mean().backward()
    parallel = DistributedDataParallel(ours)  # to be kept until the backward pass is done
    parallel(x.chunk(PROCESSES)[rank]).square().mean().backward()
    for a, b in zip(whole.parameters(), ours.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


def test_sync_batch_norm_alone_is_batch_norm():
    x = torch.randn(4, 3, 5, 5)
    whole, ours = layers.BatchNorm2d(3), layers.SyncBatchNorm(3)
    assert torch.equal(whole(x), ours(x))
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), ours.buffers(), strict=True))
    assert repr(ours) == repr(torch.nn.SyncBatchNorm(3))
    with pytest.raises(ValueError, match="expected 4D input"):
        ours(torch.randn(2, 3))


def test_conversion_keeps_parameters_buffers_and_what_is_derived():
    class Derived(layers.BatchNorm2d):
        pass

    network = torch.nn.Sequential(
        layers.BatchNorm2d(2), torch.nn.BatchNorm2d(2), Derived(2), torch.nn.BatchNorm1d(2)
    )
    before = dict(network.state_dict(keep_vars=True))
    network[0].eval()
    converted = layers.SyncBatchNorm.convert_sync_batchnorm(network)
    kinds = [layers.SyncBatchNorm] * 2 + [Derived, torch.nn.BatchNorm1d]
    assert [type(part) for part in converted] == kinds
    after = dict(converted.state_dict(keep_vars=True))
    assert list(after) == list(before)
    assert all(after[key] is tensor for key, tensor in before.items())
    assert not converted[0].training
    assert type(layers.to_torch(converted)[0]) is torch.nn.BatchNorm2d
