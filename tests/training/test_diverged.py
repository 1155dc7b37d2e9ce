"""A loss that is not finite: the layer in which it began is named, the last good step kept."""

import dataclasses

import pytest
import torch

from training import fit
from training.checkpoints import checkpoint
from training.diverged import watched
from training.errors import UserError


class Poison(torch.autograd.Function):
    """Itself, and NaN in one direction."""

    @staticmethod
    def forward(ctx, x, forward):
        return x * torch.nan if forward else x.clone()

    @staticmethod
    def backward(ctx, g):
        return g * torch.nan, None


def poisoned(model, name, forward):
    layer = model.get_submodule(name)
    return layer.register_forward_hook(lambda m, x, y: Poison.apply(y, forward), prepend=True)


@pytest.fixture
def at_step(monkeypatch):
    """Poison a layer at a step, also when the steps are repeated."""

    def install(step, name, forward):
        from training import diverged, loop

        original = loop.train_step

        def train_step(state, *arguments, **options):
            if state.step + 1 != step:
                return original(state, *arguments, **options)
            handle = poisoned(state.model, name, forward)
            try:
                return original(state, *arguments, **options)
            finally:
                handle.remove()

        for module in (loop, diverged):
            monkeypatch.setattr(module, "train_step", train_step)

    return install


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_in_the_forward_pass(quick, at_step, amp):
    at_step(30, "features.3", forward=True)
    with pytest.raises(UserError, match=r"first at step 30: the output of features\.3 \(\w+\)"):
        fit.fit(dataclasses.replace(quick, name="run", amp=amp))
    assert checkpoint.load(quick.logdir / "run" / "last.pt")[1]["step"] == 21


def test_in_the_backward_pass(quick, at_step):
    at_step(30, "features.3", forward=False)
    with pytest.raises(UserError, match=r"first at step 30: the gradient of features\.3\.bias"):
        fit.fit(dataclasses.replace(quick, name="run"))


def test_a_checkpoint_keeps_no_weights_that_are_not_finite(quick, at_step):
    """The loss of that step is still finite, and its checkpoint would be read again."""
    at_step(6, "features.3", forward=False)
    with pytest.raises(UserError, match="first at step 6"):
        fit.fit(dataclasses.replace(quick, name="run", checkpoint_every="1steps", log_every=1000))
    assert checkpoint.load(quick.logdir / "run" / "last.pt")[1]["step"] == 5


def test_in_the_first_epoch(quick, at_step, monkeypatch):
    at_step(3, "features.0", forward=True)
    with pytest.raises(UserError, match=r"first at step 3: the output of features\.0"):
        fit.fit(dataclasses.replace(quick, name="run"))
    assert not (quick.logdir / "run" / "last.pt").exists()


def test_nothing_is_found_where_all_is_finite():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    with watched(model) as places:
        model(torch.ones(1, 2)).sum().backward()
    assert places == []
    assert not any(module._forward_hooks for module in model.modules())


def test_in_the_first_epoch_of_a_schedule_that_counts_the_steps(quick, at_step):
    """Seen by the validation alone, after the last step of the epoch."""
    at_step(21, "features.3", forward=False)
    options = dataclasses.replace(quick, name="run", schedule="one-cycle", warmup_epochs=0)
    with pytest.raises(UserError, match=r"first at step 21: the gradient of features\.3"):
        fit.fit(options)


def test_a_step_that_float16_skipped_is_not_the_place(quick, at_step, monkeypatch):
    original = torch.amp.GradScaler
    large = dict(init_scale=2.0**60)  # which overflows a few times
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: original(*a, **k, **large))
    at_step(15, "features.0", forward=True)
    with pytest.raises(UserError, match=r"first at step 15: the output of features\.\d"):
        fit.fit(dataclasses.replace(quick, name="run", amp="fp16"))


def test_under_the_compiler_the_layer_is_named_too(quick, monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))
    options = dataclasses.replace(
        quick, lr=1e12, warmup_epochs=0, schedule="step", milestones=(), compile=True
    )
    with pytest.raises(UserError, match=r"first at step 2: the output of \S+ \(\w+\)"):
        fit.fit(options)
