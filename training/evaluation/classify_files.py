"""What `evaluate.py RUN IMAGE...` does: image files' surest classes, as pictures and in tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arguments.outputs import check_output
from ..errors import UserError
from ..inspection.loaded_network import load_network, load_run
from .answer_report import as_csv
from .classify import LIGHT_ON_DARK, Classified, classify, image_files
from .contact_sheet import THUMBNAIL, contact_sheet


def classify_files(
    paths: Sequence[Path],
    *,
    checkpoint: Path | None = None,
    model: str | None = None,
    weights: str | None = None,
    layers: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    memory_format: str | None = None,
    invert: bool = False,
    output: Path | None = None,
) -> tuple[dict[str, Any], list[Classified]]:
    """Classify image files; draw a contact sheet, and write a table if a folder is among them.

    Args:
        paths: image files, and folders of them.
        checkpoint: a run's folder or a checkpoint; or else
        model, weights: a network's name, and what `load_network` takes.
        output: folder for what is written; by default classified/ in the run's, or in runs/NAME.
    Returns:
        the images, and what is known of them:
        model, layers, weights (where they are from), images (of each its file and, the surest
        first, answers: class, probability), skipped (of each its file and reason), contact_sheet
        and csv (their paths; None if not written).
    Raises:
        UserError: anything the user can mend; no file that can be read.
    """
    files = image_files(paths)
    if checkpoint is not None:
        network = load_run(checkpoint, layers=layers, device=device, memory_format=memory_format)
    else:
        assert model is not None
        assert weights is not None
        network = load_network(
            model, weights=weights, layers=layers, device=device, memory_format=memory_format
        )
    folder = output or network.folder / "classified"
    check_output("--output", folder)
    classified, skipped = classify(network, files, batch_size, THUMBNAIL, invert)
    dark_on_light = sum(image.light_ground for image in classified)
    if network.options.data in LIGHT_ON_DARK and dark_on_light:
        warnings.warn(
            f"the ground is light in {dark_on_light} of {len(classified)} images, but the network "
            f"was trained on {network.options.data}, light on dark"
            + (", and --invert is on" if invert else ": --invert swaps them"),
            stacklevel=2,
        )
    document = {
        "model": network.options.model,
        "layers": network.options.layers,
        "weights": network.origin,
        "images": [
            {
                "file": str(image.file),
                "answers": [{"class": name, "probability": p} for name, p in image.answers],
            }
            for image in classified
        ],
        "skipped": [{"file": str(one.file), "reason": one.reason} for one in skipped],
        "contact_sheet": str(folder / "contact_sheet.png"),
        "csv": None,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contact_sheet(classified).save(folder / "contact_sheet.png", optimize=True)
        if any(map(os.path.isdir, paths)):
            table = folder / "answers.csv"
            table.write_text(as_csv(classified), encoding="utf-8", errors="surrogateescape")
            document["csv"] = str(table)
    except OSError as error:
        raise UserError(
            f"--output {folder} cannot be written to ({error.strerror or error}): choose another"
        ) from None
    return document, classified
