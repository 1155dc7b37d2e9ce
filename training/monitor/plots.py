"""Pictures of a run, drawn with matplotlib."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
from torch import Tensor

matplotlib.use("Agg")


def confusion(predictions: Tensor, targets: Tensor, classes: list[str]) -> Figure:
    """Rows: the true class; columns: the predicted one; numbers of images."""
    matrix = confusion_matrix(targets, predictions, labels=range(len(classes)))
    size = min(14.0, max(4.0, 1.5 + 0.45 * len(classes)))  # inches
    figure = Figure(figsize=(size, size), layout="constrained")
    few, named = len(classes) <= 20, len(classes) <= 40
    off_diagonal = matrix - np.diag(np.diag(matrix))
    display = ConfusionMatrixDisplay(matrix, display_labels=classes if named else None)
    display.plot(
        ax=figure.subplots(), cmap="Blues", colorbar=False, include_values=few,
        xticks_rotation=90 if max(map(len, classes)) > 2 else 0,
        im_kw={"vmax": max(1, off_diagonal.max() * 2)},  # so that the mistakes can be seen
    )  # fmt: skip
    if not named:
        display.ax_.set(xticks=[], yticks=[])
    return figure


def mistakes(images: Tensor, titles: list[str], columns: int = 4) -> Figure:
    """A grid of images (N, C, S, S) in [0, 1], each under its title."""
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.5 * columns, 1.9 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        pixels = image.permute(1, 2, 0).squeeze(2).numpy()
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=14)  # read at the size of TensorBoard's cards
    return figure


def mistake(target: str, guess: str, width: int = 11) -> str:
    """The title of a misclassified image: on two lines, cut to `width`, where names are long."""
    if len(title := f"{target} as {guess}") <= width:
        return title
    return "\n".join(
        n if len(n) <= width else f"{n[: width - 1]}…" for n in (target, f"as {guess}")
    )


def filters(weight: Tensor) -> Tensor:
    """First-layer filters (C_out, C_in, K_h, K_w) as pictures in [0, 1], a weight 8 pixels wide.

    Each is stretched to its own range; channels that are not colours are averaged.
    """
    pictures = weight.detach().float().cpu()
    if pictures.shape[1] != 3:
        pictures = pictures.mean(1, keepdim=True)
    low, high = pictures.amin((1, 2, 3), True), pictures.amax((1, 2, 3), True)
    pictures = (pictures - low) / torch.clamp(high - low, min=1e-12)
    return pictures.repeat_interleave(8, 2).repeat_interleave(8, 3)
