"""What `visualize.py explore` and `conv-demo` do: pages written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from analysis.pages import conv_demo as demo
from analysis.pages import explore as exploring
from analysis.pages.conv_demo_options import ConvDemoOptions

from ..errors import UserError
from .loaded_network import LoadedNetwork


def conv_demo(options: ConvDemoOptions, file: Path) -> Path:
    """A convolution of this geometry, step by step.

    Raises:
        UserError: a geometry that is impossible or too large for a page; `file` cannot be written.
    """
    try:
        page = demo.conv_demo(options)
    except ValueError as error:
        raise UserError(str(error)) from None
    return _write(page, file)


def explore(loaded: LoadedNetwork, images: Sequence[str], file: Path) -> Path:
    """A network on some images, from its layers to single units.

    Raises:
        UserError: an image that is not there, a network that has too many layers for a page;
            `file` cannot be written.
    """
    pixels, truths = zip(*map(loaded.image, images), strict=True)
    pictures = [
        exploring.Picture(loaded.name_of(which), one / 255, truth)
        for which, one, truth in zip(images, pixels, truths, strict=True)
    ]
    x = loaded.sees(torch.stack(pixels))
    try:
        page = exploring.explore(
            loaded.title, loaded.model, pictures, x, loaded.classes, loaded.origin
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    return _write(page, file)


def _write(page: str, file: Path) -> Path:
    """
    Raises:
        UserError: it cannot be written.
    """
    if file.is_dir():
        raise UserError(f"--output {file} is a folder: give the name of a file in it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output {file} cannot be written: {error.strerror}") from None
    return file
