"""Pretrained weights: torchvision's for ImageNet, or those in a file, loaded strictly.

"Don't be a hero", says the chapter: take what works best on ImageNet and fine-tune it.  From any
source, only tensors and plain values are read (`weights_only=True`), never code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .weight_file import Weights, read

TORCHVISION = {  # networks with ImageNet weights, and their names in torchvision
    "alexnet_owt": "alexnet",
    "vgg11": "vgg11",
    "vgg11_bn": "vgg11_bn",
    "vgg13": "vgg13",
    "vgg13_bn": "vgg13_bn",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "vgg19": "vgg19",
    "vgg19_bn": "vgg19_bn",
    "googlenet_bn": "googlenet",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
}


def builder_options(name: str) -> dict[str, Any]:
    """Options of a network for pretrained weights: GoogLeNet's have no trained auxiliary heads."""
    return {"aux_logits": False} if name == "googlenet_bn" else {}


def load(model: torch.nn.Module, name: str, weights: str | Path) -> str:
    """Load pretrained weights into a network.

    All tensors must match, except those of the head if the number of classes differs: then the
    head keeps its initialisation.

    Args:
        name: of the network, a key of `MODELS` or a pattern.
        weights: "imagenet"; or a file, a checkpoint of train.py or of another program, or a
            state_dict such as torchvision's (weight_file.py); or the folder of a run, for its
            best.pt.
    Returns:
        what was loaded, under which key it lay, and what was not, in one line.
    Raises:
        ValueError: no such weights, or weights of another network, or for images with other
            channels or of another size.
    """
    found = imagenet(name) if weights == "imagenet" else read(Path(weights))
    expected = model.state_dict()
    state = {k: value for k, value in found.state.items() if k in expected or not is_auxiliary(k)}
    summary = f"from {found.key} in {weights}" if found.key else f"from {weights}"
    head_keys = head(model)
    if (classes := different_classes(state, expected, head_keys)) is not None:
        there, here = classes
        layers = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in head_keys))
        summary += f"; new for {here:,} classes instead of {there:,}: {layers}"
        state |= {key: expected[key] for key in head_keys}
    check(state, expected, name)
    model.load_state_dict(state)
    if hasattr(model, "transform_input"):
        model.transform_input = found.rescaled  # type: ignore[assignment]
    return summary


def imagenet(name: str) -> Weights:
    """torchvision's weights, from its cache or downloaded into it.

    Always IMAGENET1K_V1, so that all networks have the same preprocessing, a crop of 224 from 256.
    """
    from torchvision.models import get_model_weights  # needed for nothing else

    if name not in TORCHVISION:
        raise ValueError(
            f"there are no ImageNet weights for {name}, only for {', '.join(TORCHVISION)}"
        )
    weights = get_model_weights(TORCHVISION[name])["IMAGENET1K_V1"]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        state = weights.get_state_dict(map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # of many types: a failed download, a damaged file
        if cached.exists():
            raise ValueError(f"{cached} is damaged: delete it and try again") from None
        raise ValueError(
            f"the ImageNet weights of {name} could not be downloaded ({type(error).__name__}): "
            f"fetch {weights.url} on a machine with a connection and copy it to {cached}"
        ) from None
    return Weights(state, "", rescaled=True)


def num_classes(model: torch.nn.Module, weights: str | Path) -> int:
    """How many classes the weights in a file tell apart, as far as they are the network's.

    Args:
        model: the network, for any number of classes.
    Raises:
        ValueError: no such file, or no weights in it.
    """
    expected, keys = model.state_dict(), head(model)
    differing = different_classes(read(Path(weights))[0], expected, keys)
    return differing[0] if differing else len(expected[keys[-1]])


def is_auxiliary(key: str) -> bool:
    return key.startswith("aux")


def head(model: torch.nn.Module) -> list[str]:
    """The state_dict's keys that depend on the number of classes.

    They are those of the last linear layer and of what follows it (LeNet-5's output codes), or,
    without linear layers, of the last convolution; and the same for each auxiliary head.
    """
    parts: dict[str, list[str]] = {}
    for key in model.state_dict():
        parts.setdefault(key.split(".")[0] if is_auxiliary(key) else "", []).append(key)
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    filters = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
    found = []
    for keys in parts.values():
        last = max(keys.index(key) for key in (linear & {*keys} or filters & {*keys}))
        found += keys[last:]
    return found


def different_classes(
    state: dict[str, Tensor], expected: dict[str, Tensor], head_keys: list[str]
) -> tuple[int, int] | None:
    """The numbers of classes of weights and network, if the head differs in these alone."""
    pairs = [(state[key].shape, expected[key].shape) for key in head_keys if key in state]
    differing = [(there, here) for there, here in pairs if there != here]
    if not differing or any(there[1:] != here[1:] for there, here in differing):
        return None
    there, here = differing[0]
    return there[0], here[0]


def check(state: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> None:
    """
    Raises:
        ValueError: a tensor is missing, unexpected or of another shape.
    """
    optional = "num_batches_tracked"  # absent from old files
    missing = [key for key in expected if key not in state and not key.endswith(optional)]
    unexpected = [key for key in state if key not in expected]
    if missing or unexpected:
        parts = [f"they lack {missing[0]}"] if missing else []
        parts += [f"they have {unexpected[0]}, which it has not"] if unexpected else []
        raise ValueError(f"these are not the weights of {name}: {' and '.join(parts)}")
    for key, tensor in expected.items():
        if key in state and (problem := _problem(state[key], tensor)):
            raise ValueError(f"{key} {problem} in these weights: save plain, finite numbers")
    differing = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if not differing:
        return
    key = differing[0]
    there, here = tuple(state[key].shape), tuple(expected[key].shape)
    is_first = key == next(iter(expected)) and len(here) == 4
    if is_first and (there[0], *there[2:]) == (here[0], *here[2:]):
        raise ValueError(
            f"these weights are for images of {there[1]} channel(s), but the images have {here[1]}"
        )
    raise ValueError(
        f"{key} is {there} in these weights, but {here} in {name}: they were trained on images of "
        "another size, or as another network"
    )


def _problem(there: Tensor, here: Tensor) -> str | None:
    """Why a tensor of a file cannot become one of a network."""
    if there.layout != torch.strided or there.is_quantized or there.is_meta:
        kind = (
            "quantized" if there.is_quantized else "without numbers" if there.is_meta else "sparse"
        )
        return f"is {kind}"
    if here.is_floating_point() != there.is_floating_point():
        return f"is {str(there.dtype).removeprefix('torch.')}"
    if there.is_floating_point() and not there.isfinite().all():
        return "is not finite"
    return None
