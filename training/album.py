"""A folder of pictures: PNG files, and the same for TensorBoard."""

from __future__ import annotations

import re
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from analysis.pictures.sheet import Sheet

from .errors import UserError


class Album:
    """Pictures of a network after so many steps of training."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def add(self, kind: str, of: str, sheet: Sheet) -> Path:
        """KIND-OF.png; in TensorBoard the image kind/of.

        Raises:
            UserError: the folder cannot be written to.
        """
        path = self.folder / (re.sub(r"[^\w.-]+", "-", f"{kind}-{of}").strip("-") + ".png")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sheet.save(path)
            with SummaryWriter(str(self.folder)) as board:
                board.add_image(f"{kind}/{of}", sheet.pixels(), self.step, dataformats="HWC")
        except OSError as error:
            raise UserError(
                f"cannot write {path} ({error.strerror or error}): choose another --output"
            ) from None
        return path
