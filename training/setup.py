"""From options to a run that can be trained: its data, its network, its folder."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

import torch

from layers.interop.precision import conv_precision
from models.pattern_network import PatternNetwork

from .checkpoints.continued import branch_off, check_data, is_older, load_state
from .checkpoints.lock import lock
from .checkpoints.run_folder import continued_folder, new_folder
from .data import datasets
from .device import choose_device
from .errors import UserError
from .memory.machine import check_fits
from .monitor.pictures import show_inputs
from .monitor.progress import log_to, say, table
from .monitor.records import other_threads, write_environment
from .monitor.run_summary import write_summary
from .monitor.tensorboard import Board, remove_events
from .options import Options, save_yaml
from .processes.distributed import is_writer, sharers, world_size
from .processes.job import shared_folder
from .randomness import seed_everything
from .run import Run
from .train_state import TrainState, new_train_state


def set_up(options: Options, resources: ExitStack) -> Run:
    """A new run, or one to continue where its checkpoint stands.

    Args:
        resources: takes what must be closed at the end, also if the set-up fails.
    Raises:
        UserError: anything the user can mend; a new run then has no folder yet.
    """
    if options.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    device = choose_device(options.device, getattr(torch, options.dtype))
    datasets.load(options, "test")  # which a long run should not find to be damaged at its end
    (train_set, val_set), classes = datasets.load(options, "train", "val")
    seed_everything(options.seed)
    state = new_train_state(options, len(classes), len(train_set), device)
    _check_batches(options, state, len(train_set))
    folder, saved = (None, None) if options.resume is None else continued_folder(options)
    if saved is not None and folder is not None and options.resume is not None:
        check_data(saved, options, folder, [train_set, val_set], classes)
        load_state(saved, state, options.resume)
    origin = None
    if saved is None and options.weights:
        origin = state.start_from_weights()
    if folder is None:
        folder = shared_folder(new_folder(options) if is_writer() else None)
        options = state.options = dataclasses.replace(options, name=folder.name)
    else:
        folder = shared_folder(folder)
    if is_writer():
        _open(folder, options, device, resources)
    if saved is None and is_writer():
        remove_events(folder)
    board = Board(folder, None if saved is None else saved["step"], writes=is_writer())
    resources.callback(board.close)
    run = Run(options, folder, train_set, val_set, classes, state, board)
    announce(run, origin)
    if saved is not None:
        run.continue_from(saved)
        if options.resume is not None and is_older(options.resume):
            branch_off(run)
    else:
        if is_writer():
            write_summary(folder, board, options, state.model, state.smallest_batch())
            show_inputs(board, state, train_set)
        run.draw_dropout_anew()
    return run


def _open(folder: Path, options: Options, device: torch.device, resources: ExitStack) -> None:
    """Lock the folder of a run, and write what it holds beside checkpoints and curves."""
    resources.enter_context(lock(folder))
    if options.resume is not None:
        (folder / "metrics.json").unlink(missing_ok=True)  # of fewer epochs
    before = other_threads(folder)
    write_environment(folder, device)
    log_to(folder / "log.txt")
    resources.callback(log_to, None)
    if before is not None and device.type == "cpu":
        say(
            f"  continued with {torch.get_num_threads()} threads instead of {before}: sums are "
            f"rounded in another order; OMP_NUM_THREADS={before} keeps the numbers the same\n"
        )
    save_yaml(dataclasses.replace(options, resume=None), folder / "config.yaml")


def _check_batches(options: Options, state: TrainState, images: int) -> None:
    """That every step has as many images as the network can train with, and memory for them."""
    batch = min(options.batch_size, images)
    check_fits(
        batch * len(options.mean) * options.image_size**2,  # bytes, before they are scaled
        f"a batch's {batch:,} images of {options.image_size} x {options.image_size} pixels",
        "give a smaller --image-size or --batch-size",
    )
    smallest = state.smallest_batch()
    with_images = sharers(batch, state.smallest_share())
    if with_images < world_size():
        idle = world_size() - with_images
        say(f"  {idle} of {world_size()} processes get none of a step's {batch} images\n")
    if smallest == 1:
        return
    if options.batch_size // options.accumulate < smallest:
        raise UserError(
            "batch normalisation has no variance of one image: give --batch-size more than one "
            "image for each part of --accumulate"
        )
    rest = images % options.batch_size
    if 0 < rest < smallest:
        say(f"  the last batch of {rest} image, too few for batch normalisation, is left out\n")


def announce(run: Run, origin: str | None) -> None:
    """What is trained, on what, where, in a table.

    Args:
        origin: the weights that training starts from, if not from chance.
    """
    options, state = run.options, run.state
    parameters = sum(p.numel() for p in state.model.parameters())
    trained = sum(p.numel() for p in state.model.parameters() if p.requires_grad)
    frozen = f" ({trained:,} of them trained)" if trained < parameters else ""
    tensor_cores = state.device.type == "cuda" and options.dtype == "float32"
    convolutions = f", convolutions in {conv_precision()}" if tensor_cores else ""
    amp = f", amp {options.amp}" if options.amp != "none" else ""
    images = f"{len(run.train_set):,} training and {len(run.val_set):,} validation images"
    processes = f", {world_size()} processes" if world_size() > 1 else ""
    rows = [
        ("model", f"{options.model}, {parameters:,} parameters{frozen}, {options.layers} layers"),
        *([("weights", origin)] if origin else []),
        ("data", f"{options.data}, {images}"),
        (
            "device",
            f"{state.device}, {options.dtype}{amp}{convolutions}, {state.memory_format}{processes}",
        ),
        ("run", str(run.folder)),
    ]
    say(table(rows) + "\n")
    if isinstance(state.model, PatternNetwork):
        say("\n".join(f"  {line}" for line in state.model.describe()) + "\n")
