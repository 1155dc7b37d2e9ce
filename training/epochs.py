"""The epochs of a run: train, validate, keep the checkpoints, and stop when something asks to."""

from __future__ import annotations

import math
import time

from .data.batches import evaluation_batches
from .interrupt import Interrupted, Request
from .loop import Diverged, evaluate, train_one_epoch
from .memory.tidy import tidying
from .monitor.metrics import Evaluation, Metrics
from .monitor.pictures import show_mistakes
from .monitor.profiling import Unprofiled, profiler
from .monitor.progress import described, say
from .monitor.records import write_epoch
from .processes.distributed import agree, is_writer, wait_for_all, world_size
from .run import Run


def train(run: Run, request: Request) -> None:
    """Train what is left of a run's epochs.

    Raises:
        Diverged: the loss is no longer finite.
        Interrupted: a signal came; the checkpoint of the step before is written.
    """
    with tidying() as tidy:
        while not run.done:
            started = time.monotonic()
            label = f"epoch {run.epoch + 1}/{run.options.epochs}"
            trained = _train_epoch(run, label, request)
            seen = _validate(run)
            say(
                f"{label}  train {described(trained.described())}  "
                f"val loss {seen.loss:.4f}  acc {seen.acc1:.2%}"
                + (f"  skipped by fp16 {run.state.skipped}" if run.state.skipped else "")
            )
            run.state.epoch_ended(seen.loss)
            _end_epoch(run, trained, seen, time.monotonic() - started)
            _stop_if_asked(run, *agree(request.number or 0))
            tidy()


def _train_epoch(run: Run, label: str, request: Request) -> Metrics:
    training = run.training_pass()
    profiled = run.options.profile and run.epoch == 0 and is_writer()

    def after_step(batch: int) -> None:
        trace.step()
        run.batch = batch
        if batch < training.done + len(training.batches):  # else the epoch's own is written
            signal, save = agree(request.number or 0, run.is_time_to_save())
            if save:
                run.save("last.pt")
            _stop_if_asked(run, signal)

    with profiler(run.folder) if profiled else Unprofiled() as trace:
        return train_one_epoch(
            run.state, training, run.board, label, run.options.log_every, after_step
        )


def _validate(run: Run) -> Evaluation:
    """
    Raises:
        Diverged: the training loss is measured before the update that may ruin the network.
    """
    options = run.options
    batches = evaluation_batches(
        run.val_set, options.batch_size, workers=options.workers, pin=run.pin
    )
    seen = evaluate(run.state, batches, "validation")
    if not math.isfinite(seen.loss):
        raise Diverged(run.state.step)
    return seen


def _end_epoch(run: Run, trained: Metrics, seen: Evaluation, seconds: float) -> None:
    """Curves, and then the checkpoints: the best one first, a crash in between only repeats."""
    run.epoch, run.batch, run.meter = run.epoch + 1, 0, type(run.meter)()
    run.metrics = {"loss": seen.loss, "acc1": seen.acc1}
    lr = run.state.optimizer.param_groups[0]["lr"]
    if is_writer():
        write_epoch(run.folder, run.epoch, run.state.step, trained, seen, lr)
    score = [seen.acc1, -seen.loss]  # of two epochs equally right, the surer one
    improved = score > run.best
    if improved:
        run.best, run.best_epoch = score, run.epoch
        if is_writer():
            show_mistakes(run.board, run.state.step, seen, run.val_set, run.classes)
    model, best = run.state.model, run.best[0]
    run.board.epoch(
        run.state.step, run.epoch, model, trained, seen, best, seconds, run.options.profile
    )
    run.save(*(("best.pt", "last.pt") if improved else ("last.pt",)))


def _stop_if_asked(run: Run, signal: int) -> None:
    """
    Args:
        signal: the number of the one that came to any of the processes, or 0.
    """
    if not signal or run.done:
        return
    if run.batch:  # else the epoch's checkpoint is written
        run.save("last.pt")
    wait_for_all()  # until it is written: torchrun ends the others after the first one
    several = world_size() > 1
    command = f"torchrun --nproc-per-node={world_size()}" if several else "python"
    raise Interrupted(
        signal,
        f"interrupted after step {run.state.step}, which {run.folder / 'last.pt'} keeps; go on "
        f"with: {command} train.py --resume {run.folder}",
    )
