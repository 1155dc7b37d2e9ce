"""Numbers of a pass stay on the device until read, and come to the mean over the images."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader

from training.loop import TrainingPass, evaluate, train_one_epoch
from training.monitor import meter
from training.monitor.meter import Meter
from training.recipes import recipe
from training.train_state import new_train_state


def test_means_are_over_images_not_batches():
    found = Meter()
    for loss, correct in ((2.0, [True, False, True]), (5.0, [False])):
        found.update(torch.tensor(loss), torch.tensor(correct))
    assert found.read() == (pytest.approx((3 * 2 + 5) / 4), 2 / 4)
    found.update(torch.tensor(1.0), torch.tensor([True, True]))
    assert found.read() == (pytest.approx((3 * 2 + 5 + 2) / 6), 4 / 6)
    assert found.read() == found.read()


def test_a_long_pass_is_read_now_and_then(monkeypatch):
    monkeypatch.setattr(meter, "MAX_PENDING", 4)
    found = Meter()
    for _ in range(9):
        found.update(torch.tensor(1.5), torch.tensor([True]))
    assert len(found._pending) == 1
    assert found.read() == (1.5, 1.0)


def test_nothing_is_read_from_the_device_before_it_is_asked_for():
    """A fake tensor has no number to read: trying to would raise."""
    found = Meter()
    with FakeTensorMode():
        for _ in range(20):
            loss = torch.empty((), device="cuda")
            found.update(loss, torch.empty(8, device="cuda") > 0)
    assert found.seen == 0


def test_a_loss_that_is_not_finite_stays_so():
    found = Meter()
    for loss in (1.0, float("nan"), 1.0):
        found.update(torch.tensor(loss), torch.tensor([True]))
    assert found.read()[0] != found.read()[0]


def test_a_pass_over_no_images_is_an_error():
    with pytest.raises(ValueError, match="there are no images to average over"):
        Meter().read()
    state = new_train_state(recipe("lenet", "digits"), 10, 1, torch.device("cpu"))
    with pytest.raises(ValueError, match="there are no images to average over"):
        evaluate(state, DataLoader([]), "test")
    with pytest.raises(ValueError, match="there are no images to train on"):
        train_one_epoch(state, TrainingPass([]), None, "epoch 1/1", log_every=1)
