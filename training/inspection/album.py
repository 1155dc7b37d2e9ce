"""A folder of pictures: PNG files, and the same for TensorBoard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from analysis.pictures.sheet import Sheet

from ..errors import UserError


class Album:
    """Pictures of a network after so many steps of training."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self.board: SummaryWriter | None = None  # there is no folder before there is a picture

    def add(self, kind: str, of: str, sheet: Sheet) -> Path:
        """KIND-OF.png; in TensorBoard the image KIND/OF.

        Raises:
            UserError: the folder cannot be written to.
        """
        path = self.folder / (re.sub(r"[^\w.-]+", "-", f"{kind}-{of}") + ".png")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sheet.save(path)
            if self.board is None:
                self.board = SummaryWriter(str(self.folder))
            self.board.add_image(f"{kind}/{of}", sheet.pixels(), self.step, dataformats="HWC")
        except OSError as error:
            raise UserError(
                f"cannot write {path} ({error.strerror or error}): choose another --output"
            ) from None
        return path

    def __enter__(self) -> Album:
        return self

    def __exit__(self, *_: Any) -> None:
        if self.board is not None:
            self.board.close()
