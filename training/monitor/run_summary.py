"""The summary of a run's network, in its folder and in TensorBoard."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

import models
from analysis.summary import document, summarize
from analysis.summary_table import text

from ..checkpoints.files import write_text
from ..errors import UserError
from ..options import Options
from .tensorboard import Board

WIDTH = 200  # characters, all columns


def write_summary(
    folder: Path, board: Board, options: Options, model: torch.nn.Module, batch: int
) -> None:
    """summary.txt and summary.json, and a text in TensorBoard; a run never fails for them.

    Args:
        batch: images that a step of the network needs at least.
    """
    shape = (batch, len(options.mean), options.image_size, options.image_size)
    try:
        with warnings.catch_warnings(), models.computing(options.layers):
            warnings.simplefilter("ignore")
            found = summarize(
                model, shape, name=options.model, layers=options.layers,
                dtype=getattr(torch, options.dtype),
            )  # fmt: skip
            lines = text(found, WIDTH)
        write_text(folder / "summary.txt", lines)
        write_text(folder / "summary.json", json.dumps(document(found), indent=2) + "\n")
    except (UserError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        warnings.warn(f"the network is not summarised: {error}", stacklevel=2)
        return
    board.network(lines)
