"""Checkpoints are whole, safe and complete."""

import contextlib
import errno
import os

import pytest
import torch

from training.checkpoints import checkpoint
from training.errors import UserError
from training.recipes import recipe


def test_checkpoints_that_are_none(tmp_path):
    options = recipe("lenet", "digits")
    good = tmp_path / "good.pt"
    checkpoint.save(good, options, model={"w": torch.ones(1000)})
    assert checkpoint.load(good)[0] == options
    bad = {
        "truncated.pt": good.read_bytes()[:500],
        "empty.pt": b"",
        "text.pt": b"hello",
    }
    content = good.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):  # a byte overwritten here and there: readable, or a sentence
        at = int(torch.randint(len(content), (), generator=generator))
        good.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with contextlib.suppress(UserError):
            checkpoint.load(good)
    good.write_bytes(content)
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a readable checkpoint"):
            checkpoint.load(tmp_path / name)
    torch.save({"weights": torch.ones(3)}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match=r"not a checkpoint of train\.py"):
        checkpoint.load(tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "absent.pt")


def test_a_checkpoint_cannot_execute_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "executed"),))

    torch.save({"format": checkpoint.FORMAT, "options": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_a_crash_while_writing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    options, path = recipe("lenet", "digits"), tmp_path / "last.pt"
    checkpoint.save(path, options, epoch=1)

    def torn(state, file):
        file.write(b"half of")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(UserError, match=r"last\.pt: no space is left; .* --resume"):
        checkpoint.save(path, options, epoch=2)
    monkeypatch.undo()
    assert checkpoint.load(path)[1]["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_random_state_comes_back():
    import random

    import numpy as np

    state = checkpoint.random_state()
    drawn = torch.rand(3), np.random.rand(3), random.random()
    checkpoint.restore_random_state(state)
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], again[0])
    assert (drawn[1] == again[1]).all()
    assert drawn[2] == again[2]


class Accelerators:
    """As many GPUs of a kind as wanted, with a number for a random state."""

    def __init__(self, count):
        self.states = [torch.tensor([10 * number]) for number in range(count)]

    def device_count(self):
        return len(self.states)

    def get_rng_state_all(self):
        return [state.clone() for state in self.states]

    def set_rng_state_all(self, states):
        for number, state in enumerate(states):
            self.states[number] = state


@pytest.mark.parametrize("then", [3, 1, 0])
def test_random_states_go_back_to_fewer_gpus_or_none(monkeypatch, then):
    def install(gpus):
        kind = torch.device("cuda") if gpus.states else None
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: kind)
        monkeypatch.setattr(torch, "get_device_module", lambda _: gpus)

    install(Accelerators(3))
    torch.manual_seed(7)
    state = checkpoint.random_state()
    assert len(state["cuda"]) == 3
    expected, gpus = torch.rand(3), Accelerators(then)
    for number in range(then):
        gpus.states[number] = torch.tensor([-1])
    install(gpus)
    gpus.get_rng_state_all = lambda: pytest.fail("restoring needs no copy of the present states")
    checkpoint.restore_random_state(state)
    assert [int(value) for value in gpus.states] == [0, 10, 20][:then]
    assert torch.equal(torch.rand(3), expected)
