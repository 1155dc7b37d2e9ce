"""A run of a few seconds, shared by the tests."""

import dataclasses

import pytest

from training.recipes import recipe


@pytest.fixture
def quick(tmp_path):
    """Two epochs of LeNet on a part of the digits."""
    return dataclasses.replace(
        recipe("lenet", "digits"),
        epochs=2,
        batch_size=64,
        image_size=16,
        logdir=tmp_path,
        log_every=3,
    )
