"""What single networks ask of training: answers by name, and a hand on the weights after a step."""

import dataclasses

import pytest
import torch
from torch.utils.data import Subset

import models
from tests.training.curves import events
from training import fit
from training.data import datasets
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.loop import TrainingPass, train_one_epoch
from training.recipes import recipe
from training.train_state import new_train_state


class Silent:
    """A TensorBoard that nobody watches."""

    def training_step(self, *metrics):
        pass


def small_run(model, size, tmp_path):
    return dataclasses.replace(
        recipe("lenet", "digits"), model=model, image_size=size, epochs=1, batch_size=8,
        lr=0.01, logdir=tmp_path, log_every=1,
    )  # fmt: skip


@pytest.fixture
def few_images(monkeypatch):
    """The first 16 images of every part."""
    original = datasets.load

    def load(options, *names):
        parts, classes = original(options, *names)
        return [Subset(part.dataset, list(part.indices)[:16]) for part in parts], classes

    monkeypatch.setattr(datasets, "load", load)


def test_a_network_with_auxiliary_heads_trains_and_is_judged(tmp_path, few_images):
    """Its accuracy is that of the logits, its graph is drawn, its checkpoint evaluated."""
    options = dataclasses.replace(small_run("googlenet", 47, tmp_path), profile=True)
    metrics = fit.fit(options)  # with histograms
    folder = tmp_path / "googlenet-digits"
    run, train = events(folder), events(folder / "train")
    assert run.Tags()["graph"]
    assert "gradients/aux1.fc2.weight" in run.Tags()["histograms"]
    assert 0 <= train.Scalars("epoch/accuracy")[0].value <= 1
    # three cross-entropies of ten classes, two of them weighted 0.3, against one in evaluation
    assert train.Scalars("step/loss")[0].value > 1.4 * metrics["test_loss"]
    verdict = evaluate_checkpoint(folder, layers="torch")
    assert verdict["top1"] == pytest.approx(metrics["test_accuracy"])
    assert verdict["loss"] == pytest.approx(metrics["test_loss"], rel=1e-4)


def test_training_accuracy_is_that_of_the_logits(tmp_path):
    options = small_run("googlenet", 47, tmp_path)
    state = new_train_state(options, 10, 1, torch.device("cpu"))
    state.model.fc.bias.data[7] = 1e3  # the heads would answer otherwise
    images = torch.randint(256, (8, 1, 47, 47), dtype=torch.uint8)
    batches = [(images, torch.tensor([7, 7, 7, 1, 2, 3, 4, 5]), torch.arange(8))]
    metrics = train_one_epoch(state, TrainingPass(batches), Silent(), "", 1)
    assert metrics.acc1 == 3 / 8


@pytest.mark.parametrize("layers", ["custom", "torch"])
def test_zfnet_s_filters_stay_small(tmp_path, layers):
    """A step that would blow them up is followed by the paper's renormalisation."""
    options = dataclasses.replace(small_run("zfnet", 44, tmp_path), layers=layers)
    state = new_train_state(options, 10, 10 * options.batch_size, torch.device("cpu"))
    convolutions = [m for m in state.model.modules() if isinstance(m, torch.nn.Conv2d)]
    for convolution in convolutions:
        convolution.weight.data *= 30  # RMS 0.3
    images = torch.randint(256, (8, 1, 44, 44), dtype=torch.uint8)
    batches = [(images, torch.arange(8), torch.arange(8))]
    train_one_epoch(state, TrainingPass(batches), Silent(), "", 1)
    for convolution in convolutions:
        rms = convolution.weight.flatten(1).square().mean(1).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, 0.1))


def test_logits_of_a_plain_answer_are_the_answer():
    answer = torch.zeros(2, 3)
    assert models.logits(answer) is answer
