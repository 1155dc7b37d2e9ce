"""Pictures of a run's images for TensorBoard: what goes in, and what is misclassified."""

from __future__ import annotations

import torch
from torch.utils.data import Subset

from ..checkpoints import checkpoint
from ..randomness import Draws
from ..train_state import TrainState
from .metrics import Evaluation
from .tensorboard import Board

SHOWN_INPUTS, SHOWN_MISTAKES = 64, 16


def show_inputs(board: Board, state: TrainState, dataset: Subset) -> None:
    """The first training images, before and after preprocessing; leaves the generators alone."""
    random = checkpoint.random_state()
    options = state.options
    dataset.dataset.position = options.seed, 1  # type: ignore[attr-defined]
    shown = range(min(SHOWN_INPUTS, len(dataset)))
    samples = [dataset[index] for index in shown]
    images = torch.stack([image for image, *_ in samples])
    which = torch.as_tensor([int(index) for *_, index in samples])
    draws = Draws(len(dataset.dataset), options.seed, 1)  # type: ignore[arg-type]
    x = state.preprocess.train()(images.to(state.device), draws.rows(which, state.device))
    board.start(options, state.model.eval(), images, x)
    checkpoint.restore_random_state(random)


def show_mistakes(
    board: Board, step: int, seen: Evaluation, dataset: Subset, classes: list[str]
) -> None:
    wrong = (seen.predictions != seen.targets).nonzero().flatten()[:SHOWN_MISTAKES]
    images = [dataset[int(index)][0].float() / 255 for index in wrong]
    stacked = torch.stack(images) if images else torch.zeros(0, 1, 1, 1)
    board.mistakes(step, seen, stacked, wrong, classes)
