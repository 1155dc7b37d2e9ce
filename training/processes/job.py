"""The processes that torchrun started join, end together, and go on with their run when restarted.

torchrun ends all when one fails, and with --max-restarts starts all again, with the same command
line.  A store, which torchrun serves, tells each process what the others cannot say any more: which
run the job trains, whether one of them has ended and how, and that each is alive.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist

from ..errors import UserError, ending
from ..interrupt import Interrupted, Request
from ..monitor.progress import mute
from ..options import Options, load_yaml
from .distributed import wait_for_all

# torchrun gives the others 30 seconds to end when one has died; each says why before that.
BEAT, SILENCE, GRACE = 2.0, 24.0, 8.0  # seconds
JOINING = 600.0  # seconds for all to join
COLLECTIVE = timedelta(minutes=30)  # for all to come to one: the writer may be writing

LOST = 1  # exit code

_job: Job | None = None


@contextmanager
def joined(options: Options, request: Request) -> Iterator[Options]:
    """Inside the block this process is one of torchrun's; without torchrun it is on its own.

    Yields the options: of restarted processes, those that continue the run they began.  Whatever
    ends one process ends all: with its exit code, and its sentence is said once.

    Raises:
        Interrupted: a signal came before all had joined.
    """
    global _job
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        yield options
        return
    _job = Job()
    try:
        _job.join(request)
        begun = _job.folder()
        if begun is not None:
            options = dataclasses.replace(load_yaml(begun / "config.yaml"), resume=begun)
        yield options
        wait_for_all()
    except BaseException as error:
        _job.end(error)
    _job.leave()
    _job = None


def shared_folder(folder: Path | None) -> Path:
    """The run's folder, which the writer gives; a collective."""
    if _job is None:
        assert folder is not None
        return folder
    return _job.share(folder)


class Job:
    def __init__(self) -> None:
        self.whole, self.rank, self.size = next(dist.rendezvous("env://", timeout=COLLECTIVE))
        self.store, self.watched = self._of_this_attempt(), threading.Event()

    def _of_this_attempt(self) -> dist.Store:
        """A connection of its own to the store; of the processes before a restart, which may have
        left anything, it sees nothing."""
        store, *_ = next(dist.rendezvous("env://", timeout=COLLECTIVE))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return dist.PrefixStore(f"attempt {attempt} of {self.size}", store)

    def join(self, request: Request) -> None:
        if self.rank != 0:
            mute()
            warnings.simplefilter("ignore")  # the writer's are shown
        self.store.set(f"beat {self.rank}", "")
        self.store.add("joined", 1)
        deadline = time.monotonic() + JOINING
        while (here := self.store.add("joined", 0)) < self.size:
            if request.number is not None:
                raise Interrupted(request.number, "interrupted before the training began")
            if time.monotonic() > deadline:
                raise UserError(f"only {here} of {self.size} processes came within {JOINING:.0f} s")
            time.sleep(0.05)
        device = torch.accelerator.current_accelerator(check_available=True)
        backend = "cpu:gloo"
        if device is not None:
            backend += f",{device.type}:{dist.get_default_backend_for_device(device)}"
        dist.init_process_group(
            backend, store=self.store, rank=self.rank, world_size=self.size, timeout=COLLECTIVE
        )
        if self.size > 1:
            threading.Thread(
                target=self._watch, args=(self._of_this_attempt(),), daemon=True
            ).start()

    def folder(self) -> Path | None:
        """Of the run that this job trains; None if it has begun none."""
        return Path(self.whole.get("run").decode()) if self.whole.check(["run"]) else None

    def share(self, folder: Path | None) -> Path:
        if folder is not None:
            self.whole.set("run", str(folder.resolve()))
        wait_for_all()
        found = self.folder()
        assert found is not None
        return found

    def leave(self) -> None:
        """All have done everything."""
        self.watched.set()
        dist.destroy_process_group()

    def end(self, error: BaseException) -> NoReturn:
        """End this process, because of its own error or because of another process's end."""
        known = ending(error)
        if known is None and _is_lost(error):
            known = self._lost(), LOST
            if self._ended(self.store) is None:  # the one that was lost has not said why
                time.sleep(BEAT / 4)
        sentence, code = known or (None, 1)
        first = self._ended(self.store, code)
        if first is not None:
            _exit(first)
        if sentence is None:  # a mistake of ours, with its traceback
            raise error
        print(sentence, file=sys.stderr)
        _exit(code)

    def _ended(self, store: dist.Store, code: int | None = None) -> int | None:
        """The exit code of the process that ended first; None if none has, or now this one.

        Args:
            code: with which this process ends now.
        """
        try:
            if code is None:
                return int(store.get("ended").split()[0]) if store.check(["ended"]) else None
            mine = f"{code} {self.rank}"
            first = store.compare_set("ended", "", mine).decode()
            return None if first == mine else int(first.split()[0])
        except RuntimeError:  # torchrun itself is gone
            return None

    def _lost(self) -> str:
        try:
            folder = self.folder()
        except RuntimeError:
            folder = None
        go_on = f" with --resume {folder}" if folder is not None else ""
        return (
            f"error: process {self.rank} cannot reach another one of this run's {self.size} "
            f"processes: it has died, or its machine has; no checkpoint is written without it: go "
            f"on{go_on}, which torchrun --max-restarts does by itself"
        )

    def _watch(self, store: dist.Store) -> None:
        """A thread, which ends the process where the main one waits in vain for another.

        Each process watches the next one.  A connection that breaks is noticed without it; a
        machine that is gone, or a GPU that waits for another, is not.
        """
        next_one, last, since = (self.rank + 1) % self.size, b"", time.monotonic()
        while not self.watched.wait(BEAT):
            try:
                store.set(f"beat {self.rank}", str(time.monotonic()))
                beat = store.get(f"beat {next_one}")
            except RuntimeError:  # torchrun itself is gone
                beat = last
            now = time.monotonic()
            if beat != last:
                last, since = beat, now
            code = self._ended(store)
            if code is None and now - since > SILENCE:
                code = self._ended(store, LOST)
                if code is None:
                    print(self._lost(), file=sys.stderr)
                    _exit(LOST)
            if code is not None and not self.watched.wait(GRACE):
                _exit(code)


def _is_lost(error: BaseException) -> bool:
    """Whether it says that another process cannot be reached; torch has a class for some."""
    words = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in words for sign in ("gloo", "nccl"))
    )


def _exit(code: int) -> NoReturn:
    """At once: what torch would wait for, a GPU's collectives among it, does not come any more."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
