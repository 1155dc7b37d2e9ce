"""A whole training run: set-up, epochs, and one test of the weights that were best."""

from __future__ import annotations

import time
from contextlib import ExitStack

import models

from .checkpoints import checkpoint
from .checkpoints.files import to_json, write_text
from .data import datasets
from .data.batches import evaluation_batches
from .diverged import first_bad_place
from .epochs import train
from .errors import UserError
from .interrupt import Request, at_signals
from .loop import Diverged, evaluate
from .memory.out_of_memory import out_of_memory
from .monitor.progress import say, table
from .options import Options
from .processes.distributed import is_writer, wait_for_all, world_size
from .processes.job import joined
from .run import Run
from .setup import set_up
from .train_state import load_model


def fit(options: Options) -> dict[str, float]:
    """Train, validate after every epoch, keep last.pt and best.pt, test the best once at the end.

    Returns:
        the final metrics, as in metrics.json and hparams.
    Raises:
        UserError: anything the user can mend; what was written before is kept.
        Interrupted: a signal asked the run to end.
    """
    with (
        at_signals() as request,
        joined(options, request) as options,
        models.computing(options.layers),
        ExitStack() as resources,
    ):
        started = time.monotonic()
        run = set_up(options, resources)
        try:
            with out_of_memory(run.options, run.state):
                train(run, request)
                metrics = test(run)
            run.board.finish(run.options, metrics, run.state.step)
        except Diverged as error:
            raise UserError(advice(error, run, request)) from None
        if is_writer():
            write_text(run.folder / "metrics.json", to_json(metrics))
        say(summary(run, metrics, time.monotonic() - started))
    return metrics


def summary(run: Run, metrics: dict[str, float], seconds: float) -> str:
    rows = [(name.replace("_", " "), shown(name, value)) for name, value in metrics.items()]
    rows.append(("time", f"{seconds:.0f} s"))
    rows.append(("checkpoint", f"{run.folder}/best.pt"))
    return "\n" + table(rows) + f"\n\n  tensorboard --logdir {run.options.logdir}"


def test(run: Run) -> dict[str, float]:
    """The test images, once, with the weights that were best on the validation images."""
    wait_for_all()  # until it is written
    _, saved = checkpoint.load(run.folder / "best.pt")
    load_model(run.state.evaluated, saved)
    (dataset,), _ = datasets.load(run.options, "test")
    batches = evaluation_batches(dataset, run.options.batch_size, workers=run.options.workers)
    result = evaluate(run.state, batches, "test")
    return {
        "test_accuracy": result.acc1,
        "test_error": 1 - result.acc1,
        "test_loss": result.loss,
        "best_val_accuracy": saved["metrics"]["acc1"],
        "best_epoch": saved["epoch"],
    }


def advice(error: Diverged, run: Run, request: Request) -> str:
    options, kept = run.options, run.folder / "last.pt"
    where = first_bad_place(run, request) if world_size() == 1 else None
    return (
        f"the loss stopped being finite by step {error.step} with --lr {options.lr:g}"
        + (f", first at {where}" if where else "")
        + (f"; {kept} keeps the last good step" if kept.exists() else "")
        + f": start a new run with --lr {options.lr / 10:g}, or a longer --warmup-epochs than "
        f"{options.warmup_epochs:g}"
    )


def shown(name: str, value: float) -> str:
    if "accuracy" in name or "error" in name:
        return f"{value:.2%}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
