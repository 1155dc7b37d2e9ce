"""An album's pictures are in its folder and in TensorBoard."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.pictures.sheet import Sheet
from training.errors import UserError
from training.inspection.album import Album


def test_files_and_events(tmp_path):
    sheet = Sheet(40, 30)
    sheet.image(np.zeros((1, 1, 3)), 5, 5, 10, 10)
    with Album(tmp_path / "a" / "pictures", 12) as album:
        path = album.add("columns", "layer1.0.relu#2", sheet)
        album.add("columns", "my photo", sheet)
    assert path.name == "columns-layer1.0.relu-2.png"
    assert (path.parent / "columns-my-photo.png").exists()
    events = EventAccumulator(str(path.parent)).Reload()
    (seen,) = events.Images("columns/layer1.0.relu#2")
    assert seen.step == 12
    shown = np.asarray(Image.open(io.BytesIO(seen.encoded_image_string)))
    assert np.array_equal(shown, np.asarray(Image.open(path)))


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with Album(tmp_path / "file", 0) as album, pytest.raises(UserError, match="another --output"):
        album.add("columns", "0", Sheet(10, 10))
