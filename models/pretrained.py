"""Weights that were trained elsewhere: torchvision's for ImageNet, or a file's, loaded strictly.

"Don't be a hero", says the chapter: take what works best on ImageNet and fine-tune it.  Whatever
the source, only tensors and plain values are read (`weights_only=True`), never code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TORCHVISION = {  # torchvision's names of the networks it has weights for
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
    """What a network is built with for pretrained weights: torchvision leaves out GoogLeNet's
    auxiliary heads, which nobody has trained."""
    return {"aux_logits": False} if name == "googlenet_bn" else {}


def load(model: torch.nn.Module, name: str, weights: str | Path) -> str:
    """Start a network from weights that exist.

    Every tensor must be there and fit, but for the head where it tells another number of classes
    apart: then the head stays as it was initialised.

    Args:
        name: the network's, a key of `MODELS` or a pattern.
        weights: "imagenet"; or a file, a checkpoint of train.py or a state_dict such as
            torchvision's; or the folder of a run, for its best.pt.
    Returns:
        what was loaded and what was not, in one line.
    Raises:
        ValueError: no such weights, or weights of another network, of images with other channels
            or of another size.
    """
    state, rescaled = imagenet(name) if weights == "imagenet" else read(Path(weights))
    own = model.state_dict()
    state = {key: value for key, value in state.items() if key in own or not auxiliary(key)}
    said = f"from {weights}"
    fresh = head(model)
    if (classes := other_classes(state, own, fresh)) is not None:
        layers = dict.fromkeys(key.rpartition(".")[0] for key in fresh)
        said += f"; new for {classes[1]:,} classes instead of {classes[0]:,}: {', '.join(layers)}"
        state |= {key: own[key] for key in fresh}
    check(state, own, name)
    model.load_state_dict(state)
    if hasattr(model, "transform_input"):
        model.transform_input = rescaled  # type: ignore[assignment]
    return said


def imagenet(name: str) -> tuple[dict[str, Tensor], bool]:
    """torchvision's weights, from its cache or downloaded into it, and whether (for GoogLeNet) they
    expect pixels in [-1, 1].

    IMAGENET1K_V1 throughout: one preprocessing for all, a crop of 224 out of 256.
    """
    from torchvision.models import get_model_weights  # no network needs torchvision otherwise

    if name not in TORCHVISION:
        raise ValueError(
            f"there are no ImageNet weights for {name}, only for {', '.join(TORCHVISION)}"
        )
    weights = get_model_weights(TORCHVISION[name])["IMAGENET1K_V1"]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        state = weights.get_state_dict(map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # whatever a failing network or a damaged file raises
        if cached.exists():
            raise ValueError(f"{cached} is damaged: delete it and try again") from None
        raise ValueError(
            f"the ImageNet weights of {name} could not be downloaded ({type(error).__name__}): "
            f"fetch {weights.url} on a machine with a connection and copy it to {cached}"
        ) from None
    return state, True


def read(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The weights in a file, and whether (for GoogLeNet) they expect pixels in [-1, 1]: a
    checkpoint of ours says so, bare weights are torchvision's."""
    path = path / "best.pt" if path.is_dir() else path
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: give imagenet, or a file of weights") from None
    except Exception:  # garbage fails in many ways
        raise ValueError(
            f"{path} is not readable as weights: it is truncated, or holds more than tensors"
        ) from None
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} holds no weights: expected a checkpoint of train.py, or a state_dict"
        )
    return state, bool(content.get("transform_input", state is content))


def auxiliary(key: str) -> bool:
    return key.startswith("aux")


def head(model: torch.nn.Module) -> list[str]:
    """The state_dict's keys that depend on the number of classes: of the last fully connected
    layer and what comes after it (LeNet-5's output codes); where there is none, of the last layer
    with filters.  Of auxiliary heads likewise."""
    parts: dict[str, list[str]] = {}
    for key in model.state_dict():
        parts.setdefault(key.split(".")[0] if auxiliary(key) else "", []).append(key)
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


def other_classes(
    state: dict[str, Tensor], own: dict[str, Tensor], head: list[str]
) -> tuple[int, int] | None:
    """How many classes the weights and the network tell apart, if these differ and no more does."""
    pairs = [(state[key].shape, own[key].shape) for key in head if key in state]
    differing = [(there, here) for there, here in pairs if there != here]
    if not differing or any(there[1:] != here[1:] for there, here in differing):
        return None
    there, here = differing[0]
    return there[0], here[0]


def check(state: dict[str, Tensor], own: dict[str, Tensor], name: str) -> None:
    """
    Raises:
        ValueError: a tensor is missing, unknown or of another shape.
    """
    lacking = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    if lacking or strange:
        parts = [f"they lack {lacking[0]}"] if lacking else []
        parts += [f"they have {strange[0]}, which it has not"] if strange else []
        raise ValueError(f"these are not the weights of {name}: {' and '.join(parts)}")
    differing = [key for key in own if key in state and state[key].shape != own[key].shape]
    if not differing:
        return
    key = differing[0]
    there, here = tuple(state[key].shape), tuple(own[key].shape)
    if key == next(iter(own)) and len(here) == 4 and (there[0], *there[2:]) == (here[0], *here[2:]):
        raise ValueError(
            f"these weights are for images of {there[1]} channel(s), but the images have {here[1]}"
        )
    raise ValueError(
        f"{key} is {there} in these weights, but {here} in {name}: they were trained on images of "
        "another size, or as another network"
    )
