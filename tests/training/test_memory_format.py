"""--memory-format: how a network and its images lie in memory, on which nothing else depends."""

import dataclasses

import pytest
import torch
import yaml

from tests.training.curves import events
from training import fit
from training.arguments.command_line import parse
from training.checkpoints import checkpoint
from training.device import MEMORY_FORMATS
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.recipes import recipe
from training.train_state import new_train_state

CPU = torch.device("cpu")


def memory_format_of(tensor):
    """Of one that lies in a single format: more than one channel, more than one pixel."""
    (name,) = (
        name
        for name, layout in MEMORY_FORMATS.items()
        if tensor.is_contiguous(memory_format=layout)
    )
    return name


@pytest.mark.parametrize("layers", ["custom", "torch", "reference"])
@pytest.mark.parametrize("memory_format", [*MEMORY_FORMATS])
def test_filters_and_images_lie_as_they_should(memory_format, layers):
    options = dataclasses.replace(
        recipe("lenet", "cifar10"), memory_format=memory_format, layers=layers
    )
    state = new_train_state(options, 10, 1, CPU)
    convolutions = [m for m in state.model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 2
    for convolution in convolutions:
        assert memory_format_of(convolution.weight) == memory_format
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    for training in (True, False):
        x = state.preprocess.train(training)(images)
        assert memory_format_of(x) == memory_format
        assert memory_format_of(state.model.features[0](x)) == memory_format


def test_locally_connected_weights_are_no_images():
    model = "INPUT[1x8x8] -> LOCAL3-4 -> RELU -> FC"
    options = dataclasses.replace(recipe(model, "digits"), memory_format="channels_last")
    weight = new_train_state(options, 10, 1, CPU).model.features[0].weight
    assert weight.dim() == 5
    assert weight.is_contiguous()


def test_a_run_and_its_checkpoint_do_not_depend_on_it(quick, capsys):
    """In float64 to 1e-9; either checkpoint is evaluated in either format, by any layer set."""
    losses, verdicts = {}, []
    for name in MEMORY_FORMATS:
        options = dataclasses.replace(quick, dtype="float64", memory_format=name, name=name)
        fit.fit(options)
        assert f"device  cpu, float64, {name}\n" in capsys.readouterr().out
        losses[name] = [p.value for p in events(quick.logdir / name / "train").Scalars("step/loss")]
        for evaluated, layers in (
            ("contiguous", "torch"),
            ("channels_last", "custom"),
            (None,) * 2,
        ):
            verdict = evaluate_checkpoint(
                quick.logdir / name, memory_format=evaluated, layers=layers
            )
            assert verdict["memory_format"] == evaluated or name
            verdicts.append(verdict["loss"])
    assert losses["contiguous"] == pytest.approx(losses["channels_last"], rel=1e-9)
    assert verdicts == pytest.approx([verdicts[0]] * 6, rel=1e-9)


def test_a_resumed_run_keeps_it(quick, capsys):
    fit.fit(dataclasses.replace(quick, epochs=1, memory_format="contiguous"))
    folder = quick.logdir / "lenet-digits"
    with pytest.raises(UserError, match="--memory-format differs"):
        parse(["--resume", str(folder), "--memory-format", "channels_last"], "")
    capsys.readouterr()
    fit.fit(parse(["--resume", str(folder), "--epochs", "2"], ""))
    assert "device  cpu, float32, contiguous\n" in capsys.readouterr().out


def test_runs_from_before_there_was_a_choice(quick):
    """They are evaluated in the format that auto chooses, and cannot go on."""
    fit.fit(dataclasses.replace(quick, epochs=1, memory_format="contiguous"))
    folder = quick.logdir / "lenet-digits"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["memory_format"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for path in (folder / "last.pt", folder / "best.pt"):
        state = torch.load(path)
        del state["options"]["memory_format"], state["checksum"]
        torch.save(state | {"format": checkpoint.WITHOUT_CHECKSUM}, path)
    assert evaluate_checkpoint(folder)["memory_format"] == "channels_last"
    with pytest.raises(UserError, match="earlier version"):
        fit.fit(parse(["--resume", str(folder), "--epochs", "2"], ""))
