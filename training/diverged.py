"""Where numbers stop being finite: the steps since the last checkpoint once more, watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .checkpoints import checkpoint
from .fine_tuning import train_mode
from .interrupt import Request
from .loop import train_step
from .monitor.progress import Progress, say
from .randomness import MIXTURE, seed_everything
from .run import Run
from .train_state import new_train_state


def first_bad_place(run: Run, request: Request) -> str | None:
    """Repeat what led to a loss that is not finite, and say in which layer it began.

    The steps since the last checkpoint, or since the start, are the same again; here every one is
    looked at.  None where it does not happen again, as on a device whose sums differ, or where a
    signal has asked for the end.
    """
    path = run.folder / "last.pt"
    if path.exists():
        saved = checkpoint.load(path)[1]
        run.state.load_state_dict(saved)
        run.continue_from(saved)
    else:
        images, device = len(run.train_set), run.state.device
        seed_everything(run.options.seed)
        run.state = new_train_state(run.options, len(run.classes), images, device)
        if run.options.weights:
            run.state.start_from_weights()
        run.epoch = run.batch = 0
    training, state = run.training_pass(), run.state
    say(f"the loss is not finite: up to {len(training.batches)} steps again, to see where it began")
    total = training.done + len(training.batches)
    progress = Progress(training.batches, total, "where it began", training.done)
    state.forward = state.model  # a compiled network does not call the hooks
    train_mode(state.model)
    state.preprocess.train()
    for batch, (images, targets, which) in enumerate(progress, training.done + 1):
        progress.show(batch)
        if request.number is not None:
            return None
        draws = None if training.draws is None else training.draws.rows(which, state.device)
        position = run.options.seed, training.epoch, MIXTURE, batch
        skipped = state.skipped
        with watched(state.model) as places:
            loss, _ = train_step(state, images, targets, draws, position)
        finite = bool(loss.isfinite())
        if finite and state.skipped > skipped:
            continue  # float16 overflowed in a scaled gradient, and made no update of it
        if places or not finite:
            return f"step {state.step}: {places[0] if places else 'the loss'}"
    return None


@contextmanager
def watched(model: torch.nn.Module) -> Iterator[list[str]]:
    """Inside the block, collect the places whose numbers are not finite, in their order.

    Outputs of layers in the forward pass, gradients of weights in the backward pass, and weights
    after the update.
    """
    places: list[str] = []
    handles = []

    def look(place: str, value: Any) -> None:
        if isinstance(value, Tensor) and value.is_floating_point() and not _finite(value):
            places.append(place)

    for name, module in model.named_modules():
        if not [*module.children()]:
            kind = type(module).__name__
            handles.append(
                module.register_forward_hook(
                    lambda _, __, y, name=name, kind=kind: look(f"the output of {name} ({kind})", y)
                )
            )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            handles.append(
                parameter.register_post_accumulate_grad_hook(
                    lambda p, name=name: look(f"the gradient of {name}", p.grad)
                )
            )
    try:
        yield places
        for name, parameter in model.named_parameters():
            look(f"{name} after the update", parameter)
    finally:
        for handle in handles:
            handle.remove()


def _finite(value: Tensor) -> bool:
    return bool(value.detach().isfinite().all())
