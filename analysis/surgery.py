"""Net surgery: fully connected layers as convolutions, and convolutions as fully connected layers.

A unit of a fully connected layer computes the same dot product as a filter that covers its whole
input volume (the chapter, "Converting FC layers to CONV layers").  So a network whose head is
rewritten so gives, on a larger image, a map of scores: one for each place at which the network of
before could have been put.  Where it pads, the scores are not those of crops, because a crop has
zeros around it and a place in the image has neighbours: see docs/surgery.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval

import layers
from models.sizing import as_pair

GEOMETRY = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
LARGEST_MATRIX = 64 * 2**20  # bytes
ELEMENTWISE = (
    torch.nn.ReLU, torch.nn.Tanh, torch.nn.Sigmoid, torch.nn.Dropout, torch.nn.Identity,
)  # fmt: skip
FUNCTIONS = {"relu", "tanh", "sigmoid", "dropout", "add", "sub", "mul", "truediv", "neg"}


class SurgeryError(ValueError):
    """This network cannot be rewritten; the message says which layer is in the way."""


class PerPosition(torch.nn.Module):
    """A layer over vectors (N, C), applied at every position of a volume (N, C, H, W)."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        vectors = x.movedim(1, -1)  # N x H x W x C
        y = self.layer(vectors.flatten(0, 2))
        return y.unflatten(0, vectors.shape[:3]).movedim(-1, 1)


def to_convolutional(model: torch.nn.Module, image: Sequence[int]) -> GraphModule:
    """The same network with a convolutional head: (N, C, H, W) -> (N, num_classes, H', W').

    The first fully connected layer behind a volume C x H x W becomes a convolution of H x W
    filters, those behind it become 1 x 1 convolutions; a global average becomes one over windows as
    large as the volume was, at stride 1.  On images of the size it was made for the map is 1 x 1.

    Args:
        model: in evaluation mode afterwards.  Its parameters are shared, not copied.
        image: shape of the images that it was made for, (C, H, W).
    Raises:
        SurgeryError: a layer has weights for every position, or is not known.
    """
    graph = trace(model, image)
    volumes: dict[Node, tuple[int, ...]] = {}  # of the nodes that give vectors: what they stand for
    for node in list(graph.graph.nodes):
        _refuse(graph, node)
        if _is_flatten(graph, node):
            volumes[node] = _shape(node.all_input_nodes[0])[1:]
        elif isinstance(module := _module(graph, node), torch.nn.AdaptiveAvgPool2d):
            _replace(graph, node, _window(node, module))
        elif node.op != "output" and (read := [n for n in node.all_input_nodes if n in volumes]):
            volumes[node] = _rewrite(graph, node, volumes[read[0]])
    for node in list(graph.graph.nodes):
        if _is_flatten(graph, node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _refuse(graph: GraphModule, node: Node) -> None:
    """
    Raises:
        SurgeryError: what a node does to a volume of one size, it cannot do to a larger one.
    """
    if isinstance(_module(graph, node), layers.LocallyConnected2d):
        raise SurgeryError(
            f"{node.target} is locally connected: it has other weights at every position of an "
            "image of one size, so it cannot slide over a larger one"
        )
    is_function = node.op in ("call_function", "call_method") and not _is_flatten(graph, node)
    if is_function and (_name(node) == "adaptive_avg_pool2d" or _makes_a_vector(node)):
        raise SurgeryError(
            f"{_name(node)} in its forward takes the whole volume, whatever its size: write "
            "AdaptiveAvgPool2d and flatten, which are known here"
        )


def _rewrite(graph: GraphModule, node: Node, volume: tuple[int, ...]) -> tuple[int, ...]:
    """Make a node behind vectors that stand for a volume one behind that volume.

    Returns:
        the volume that its own vectors stand for.
    Raises:
        SurgeryError: it is not known how.
    """
    module = _module(graph, node)
    if isinstance(module, torch.nn.Linear):
        if not _is_only(graph, node):
            raise SurgeryError(f"{node.target} is called more than once, on other volumes")
        _replace(graph, node, _convolution(module, volume))
        return module.out_features, 1, 1
    if isinstance(module, ELEMENTWISE) or (module is None and _name(node) in FUNCTIONS):
        return volume
    if module is not None and math.prod(volume[1:]) == 1:
        _replace(graph, node, PerPosition(module))
        return _shape(node)[1], 1, 1
    raise SurgeryError(f"{_name(node)} reads a vector, and does not say how for a map")


def to_linear(
    conv: torch.nn.Conv2d, image: int | Sequence[int], largest: int = LARGEST_MATRIX
) -> torch.nn.Linear:
    """A convolution as the fully connected layer that does the same to images of one size.

    Its weights are (C_out H_out W_out, C_in H W): mostly zero, for a unit sees one window, and
    equal in blocks, for all units of a map have the same filter.  Column i is what the convolution
    makes of an image that is 1 in pixel i and 0 elsewhere.

    Args:
        image: H and W.
        largest: bytes that the matrix may have.
    Raises:
        SurgeryError: it would have more.
    """
    height, width = as_pair(image)
    shape = (conv.in_channels, height, width)
    pixels = math.prod(shape)
    weight = conv.weight
    with torch.device("meta"):
        options = {name: getattr(conv, name) for name in GEOMETRY}
        probe = type(conv)(conv.in_channels, conv.out_channels, bias=False, **options)
        out = probe(torch.empty(1, *shape)).shape[1:]
    size = math.prod(out) * pixels * weight.element_size()
    if size > largest:
        raise SurgeryError(
            f"as a matrix, {math.prod(out):,} x {pixels:,}, this convolution would have "
            f"{size / 2**20:,.0f} MiB, more than {largest / 2**20:,.0f}: take a smaller image"
        )
    linear = _of_the_same_set(conv).Linear(
        pixels, math.prod(out), bias=conv.bias is not None, device="meta", dtype=weight.dtype
    ).to_empty(device=weight.device)  # fmt: skip
    with torch.no_grad():
        unit_images = torch.eye(pixels, dtype=weight.dtype, device=weight.device).unflatten(
            1, shape
        )
        answers = torch.func.functional_call(probe, {"weight": weight}, (unit_images,))
        linear.weight.copy_(answers.flatten(1).T)
        if conv.bias is not None:
            linear.bias.copy_(conv.bias.repeat_interleave(math.prod(out[1:])))
    return linear


def fold_batch_norm(model: torch.nn.Module, image: Sequence[int]) -> GraphModule:
    """The same network in evaluation mode, without the batch norms that follow a convolution.

        gamma (W x + b - mean) / sqrt(var + eps) + beta  =  W' x + b'

    Args:
        image: shape of an image, (C, H, W).
    """
    graph = trace(model, image)
    for node in list(graph.graph.nodes):
        norm = _module(graph, node)
        if not isinstance(norm, torch.nn.BatchNorm2d) or norm.running_mean is None:
            continue
        before = node.all_input_nodes[0]
        conv = _module(graph, before)
        if isinstance(conv, torch.nn.Conv2d) and len(before.users) == 1 and _is_only(graph, before):
            _replace(graph, before, fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph


class _Tracer(torch.fx.Tracer):
    """Layers are leaves: ours, torch's, and every module without others inside."""

    def is_leaf_module(self, module: torch.nn.Module, name: str) -> bool:
        return super().is_leaf_module(module, name) or not list(module.children())


def trace(model: torch.nn.Module, image: Sequence[int]) -> GraphModule:
    """The graph of a network in evaluation mode, each node with its shape for one image."""
    graph = GraphModule(model.eval(), _Tracer().trace(model))
    parameter = next(model.parameters())
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        x = torch.empty((1, *image), dtype=parameter.dtype, device=parameter.device)
    ShapeProp(graph, fake).propagate(x)
    return graph


def _convolution(linear: torch.nn.Linear, volume: tuple[int, ...]) -> torch.nn.Conv2d:
    """The convolution whose filters are the rows of a fully connected layer over a volume."""
    channels, height, width = volume
    conv = _of_the_same_set(linear).Conv2d(
        channels, linear.out_features, (height, width), bias=linear.bias is not None, device="meta"
    )
    conv.weight = torch.nn.Parameter(linear.weight.detach().unflatten(1, volume))
    conv.bias = linear.bias
    return conv.eval()


def _window(node: Node, pool: torch.nn.AdaptiveAvgPool2d) -> torch.nn.Module:
    """What an adaptive average does to the size it was made for, as a window that slides."""
    before, after = _shape(node.all_input_nodes[0])[2:], _shape(node)[2:]
    if before == after:
        return torch.nn.Identity()
    if tuple(after) == (1, 1):
        return _of_the_same_set(pool).AvgPool2d(tuple(before), stride=1)
    raise SurgeryError(
        f"{node.target} makes {after[0]} x {after[1]} of {before[0]} x {before[1]}, as no window "
        f"of one size does; take images that reach it with {after[0]} x {after[1]}"
    )


def _of_the_same_set(layer: torch.nn.Module) -> ModuleType:
    """`layers` or `torch.nn`, whichever a layer is from."""
    return layers if type(layer).__module__.startswith("layers") else torch.nn


def _is_flatten(graph: GraphModule, node: Node) -> bool:
    is_layer = isinstance(_module(graph, node), torch.nn.Flatten)
    return (is_layer or _name(node) == "flatten") and len(_shape(node)) == 2


def _makes_a_vector(node: Node) -> bool:
    """Whether a volume goes in and a vector comes out."""
    before = [_dimensions(n) for n in node.all_input_nodes]
    return _dimensions(node) == 2 and 4 in before


def _dimensions(node: Node) -> int | None:
    """Of its output; None for several, as of a chunk."""
    shape = getattr(node.meta.get("tensor_meta"), "shape", None)
    return None if shape is None else len(shape)


def _is_only(graph: GraphModule, node: Node) -> bool:
    """Whether a module is called nowhere else."""
    return sum(n.op == "call_module" and n.target == node.target for n in graph.graph.nodes) == 1


def _name(node: Node) -> str:
    return node.target if isinstance(node.target, str) else node.target.__name__


def _module(graph: GraphModule, node: Node) -> torch.nn.Module | None:
    return graph.get_submodule(node.target) if node.op == "call_module" else None  # type: ignore[arg-type]


def _shape(node: Node) -> torch.Size:
    return node.meta["tensor_meta"].shape


def _replace(graph: GraphModule, node: Node, module: torch.nn.Module) -> None:
    """Another module under the same name."""
    graph.add_submodule(node.target, module)  # type: ignore[arg-type]
