"""What a step does with the options that change it."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from training import fit
from training.checkpoints import checkpoint
from training.loop import train_step
from training.randomness import Draws, generator, seed_everything
from training.recipes import recipe
from training.train_state import new_train_state

CPU = torch.device("cpu")
LENET = dataclasses.replace(
    recipe("lenet", "digits"), image_size=16, batch_size=16, schedule="step", milestones=(),
    warmup_epochs=0.0, dtype="float64", augment="none",
)  # fmt: skip


def state_of(**changes):
    seed_everything(0)
    return new_train_state(
        dataclasses.replace(LENET, **changes),
        10,
        4 * changes.get("batch_size", LENET.batch_size),
        CPU,
    )


def batch(number=0):
    chance = generator(1, number)
    images = torch.randint(256, (16, 1, 16, 16), dtype=torch.uint8, generator=chance)
    return images, torch.randint(10, (16,), generator=chance)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def steps(state, count=3):
    losses = [train_step(state, *batch(k), position=(0, 1, k))[0].item() for k in range(count)]
    return losses, weights(state.model)


@pytest.mark.parametrize("parts", [2, 3, 4, 16])
def test_accumulated_parts_are_one_step(parts):
    whole, divided = steps(state_of()), steps(state_of(accumulate=parts))
    assert_close(divided[1], whole[1], rtol=0, atol=1e-12)
    assert divided[0] == pytest.approx(whole[0], rel=1e-12)


def test_accuracy_of_parts_is_the_batch_s():
    images, targets = batch()
    correct = [train_step(state_of(accumulate=k), images, targets)[1] for k in (1, 4)]
    assert torch.equal(*correct)


def test_the_average_is_its_formula():
    state = state_of(ema=0.9)
    expected = weights(state.model)
    for k in range(4):
        train_step(state, *batch(k))
        now = weights(state.model)
        expected = now if k == 0 else 0.9 * expected + 0.1 * now
    assert_close(weights(state.ema.module), expected, rtol=1e-12, atol=1e-12)
    assert state.evaluated is state.ema.module


def test_a_clipped_gradient_has_the_norm_asked():
    free, clipped = state_of(momentum=0.0, weight_decay=0.0), None
    before = weights(free.model)
    train_step(free, *batch())
    norm = (weights(free.model) - before).norm() / LENET.lr
    clipped = state_of(momentum=0.0, weight_decay=0.0, clip_norm=norm.item() / 7)
    train_step(clipped, *batch())
    moved = (weights(clipped.model) - before).norm() / LENET.lr
    assert moved.item() == pytest.approx(norm.item() / 7, rel=1e-5)


def test_nesterov_is_torch_s():
    state = state_of(optimizer="nesterov")
    assert state.optimizer.defaults["nesterov"]
    assert steps(state)[0] != steps(state_of())[0]


def test_mixup_s_targets_are_mixed_as_its_images(monkeypatch):
    """Two classes, black and white: the share of white is the share of its class."""
    state, seen = state_of(mixup=1.0), []
    images = torch.zeros(16, 1, 16, 16, dtype=torch.uint8)
    targets = torch.arange(16) % 2
    images[targets == 1] = 255
    original = state.criterion
    x_seen = []
    state.forward = lambda x: x_seen.append(x) or state.model(x)
    state.criterion = lambda output, truth: seen.append(truth) or original(output, truth)
    train_step(state, images, targets, position=(0, 1, 2))
    truth, x = seen[0], x_seen[0]
    white = (x.mean((1, 2, 3)) * state.preprocess.std + state.preprocess.mean).flatten()
    assert_close(truth.sum(1), torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-6)
    assert_close(truth[:, 1], white, rtol=0, atol=1e-6)
    assert 0 < truth[0, 0] < 1


def test_a_mixture_follows_from_its_position():
    images, targets = batch()
    for options in ({"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}):
        losses = []
        for position in ((0, 1, 5), (0, 1, 5), (0, 1, 6)):
            torch.manual_seed(len(losses))  # torch's own generator does not matter
            losses.append(train_step(state_of(**options), images, targets, None, position)[0])
        assert losses[0] == losses[1] != losses[2]


def test_changes_of_an_image_follow_from_seed_epoch_and_image():
    images, _ = batch()
    which = torch.tensor([3, 40, 7, 1] * 4)
    state = state_of(augment="affine")

    def seen(seed, epoch):
        return state.preprocess.train()(images, Draws(100, seed, epoch).rows(which, CPU))

    assert torch.equal(seen(0, 1), seen(0, 1))
    assert not torch.equal(seen(0, 1), seen(0, 2))
    assert not torch.equal(seen(0, 1), seen(1, 1))
    half = state.preprocess(images[8:], Draws(100, 0, 1).rows(which[8:], CPU))
    assert torch.equal(half, seen(0, 1)[8:])


def test_bfloat16_multiplies_in_bfloat16():
    state = state_of(dtype="float32", amp="bf16")
    dtypes = []
    state.model.features[0].register_forward_hook(lambda m, x, y: dtypes.append(y.dtype))
    loss, _ = train_step(state, *batch())
    assert dtypes == [torch.bfloat16]
    assert loss.dtype == torch.float32
    assert {p.dtype for p in state.model.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("error")
def test_float16_skips_an_overflow_and_counts_it():
    state = state_of(dtype="float32", amp="fp16")
    before = weights(state.model)
    state.scaler._init_scale = 2.0**60  # too large for any gradient
    train_step(state, *batch())
    assert state.skipped == 1
    assert torch.equal(weights(state.model), before)
    assert state.scaler.get_scale() == 2.0**59
    state.scaler.update(2.0**8)
    train_step(state, *batch())
    assert state.skipped == 1
    assert not torch.equal(weights(state.model), before)


def test_a_compiled_network_takes_the_same_steps(monkeypatch):
    backend = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: backend(model, backend="aot_eager"))
    compiled, eager = steps(state_of(compile=True)), steps(state_of())
    assert compiled[0] == pytest.approx(eager[0], rel=1e-9)


def test_the_plateau_divides_once_nothing_improves():
    state = state_of(schedule="plateau", lr=0.5, min_lr=0.04)
    rates = []
    for epoch in range(30):
        train_step(state, *batch(epoch))
        state.epoch_ended(1.0 if epoch else 2.0)
        rates.append(state.optimizer.param_groups[0]["lr"])
        saved = state.state_dict()
        state = state_of(schedule="plateau", lr=0.5, min_lr=0.04)  # also through a checkpoint
        state.load_state_dict(saved)
    assert rates[:12] == [0.5] * 12
    assert rates[12:] == pytest.approx([0.05] * 11 + [0.04] * 7)


def test_the_average_of_an_index_is_the_index():
    """LeNet-5's third layer looks up which maps it connects."""
    state = state_of(model="lenet5", image_size=32, ema=0.9)
    images = torch.randint(256, (4, 1, 32, 32), dtype=torch.uint8)
    for _ in range(2):
        train_step(state, images, torch.arange(4))
    for ours, average in zip(state.model.buffers(), state.ema.module.buffers(), strict=True):
        assert ours.is_floating_point() or torch.equal(ours, average)


@pytest.mark.parametrize("model", ["lenet5", "lenet"])
def test_any_loss_takes_mixed_targets(model):
    state = state_of(model=model, image_size=32, mixup=0.4)
    images = torch.randint(256, (4, 1, 32, 32), dtype=torch.uint8)
    loss, _ = train_step(state, images, torch.arange(4), position=(0, 1, 1))
    assert loss.isfinite()


def test_a_short_batch_has_fewer_parts():
    """Batch normalisation of single pixels needs two images in each."""
    pattern = "INPUT[1x16x16] -> CONV3-4 -> GAP -> CONV1-4 -> BN -> FC"
    state = state_of(model=pattern, accumulate=16)
    images, targets = batch()
    loss, correct = train_step(state, images[:5], targets[:5])
    assert loss.isfinite()
    assert len(correct) == 5


def test_four_parts_of_32_are_128():
    chance = generator(2)
    images = torch.randint(256, (128, 1, 16, 16), dtype=torch.uint8, generator=chance)
    targets = torch.randint(10, (128,), generator=chance)
    found = []
    for parts in (1, 4):
        state = state_of(batch_size=128, accumulate=parts)
        for _ in range(3):
            train_step(state, images, targets)
        found.append(weights(state.model))
    assert_close(*found, rtol=0, atol=1e-12)


def test_skipped_steps_are_shown(quick, monkeypatch, capsys):
    original = torch.amp.GradScaler
    large = dict(init_scale=2.0**40)  # which overflows a few times
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: original(*a, **k, **large))
    fit.fit(dataclasses.replace(quick, name="run", amp="fp16", epochs=1))
    skipped = checkpoint.load(quick.logdir / "run" / "last.pt")[1]["skipped"]
    assert skipped > 5
    assert f"skipped by fp16 {skipped}\n" in capsys.readouterr().out
