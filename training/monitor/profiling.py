"""A few steps of the first epoch as a trace: what the processor and the GPU do, and when."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch.profiler import profile, schedule, tensorboard_trace_handler

WAIT, WARMUP, STEPS = 3, 2, 5  # steps that are left out, that warm the profiler up, and recorded


def profiler(folder: Path) -> AbstractContextManager[Any]:
    """A context manager whose `step` is called after every step.

    The trace, `FOLDER/profile/*.pt.trace.json`, opens in https://ui.perfetto.dev, or in TensorBoard
    with the plug-in torch-tb-profiler.
    """
    return profile(
        schedule=schedule(wait=WAIT, warmup=WARMUP, active=STEPS, repeat=1),
        on_trace_ready=tensorboard_trace_handler(str(folder / "profile")),
        record_shapes=True,
    )


class Unprofiled(nullcontext):
    """The same, which records nothing."""

    def __enter__(self) -> Unprofiled:
        return self

    def step(self) -> None: ...
