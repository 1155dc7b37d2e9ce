"""An hour of training that is killed at random moments: same weights, and memory that stays flat.

    python -m tests.training.soak --data mnist --data-root DIR --minutes 60 --plot soak.png

LeNet trains with two loader workers, distortions, mixup, EMA and bf16, and writes a checkpoint
every minute.  SIGKILL ends it after two to eight minutes, again and again, and it is resumed.
After the given time it is asked to stop; then the same run is trained to that step without
interruption.  The exit code is 1 if a weight differs, or if memory in the last three quarters of
the time spreads by more than 2 %.
"""

import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import torch
import tyro
from matplotlib.figure import Figure

from tests.training.test_kills import kill, start
from training.checkpoints import checkpoint

OPTIONS = [
    "--model", "lenet", "--epochs", "1000", "--augment", "affine", "--mixup", "0.2",
    "--ema", "0.999", "--amp", "bf16", "--workers", "2",
]  # fmt: skip
SETTLED = 60  # seconds after which a process has allocated what it keeps


@dataclass(frozen=True)
class Options:
    data: str = "digits"
    """Which data set."""
    data_root: Path = Path("data")
    """Its folder."""
    minutes: float = 60
    """How long the run is killed."""
    plot: Path = Path("soak.png")
    """Where the plot of its memory goes."""
    logdir: Path | None = None
    """Where the two runs go; by default a new temporary folder."""


@dataclass
class Sample:
    minute: float  # since the soak began
    age: float  # seconds since its process did
    megabytes: float


def memory(pid: int) -> float:
    """MB that a process has allocated, without the libraries it shares with others (Linux).

    The loader's workers are not counted: they live for one epoch, on pages of their parent's.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line) / 1024


def watch(process: subprocess.Popen, until: float, begin: float) -> list[Sample]:
    """Its memory every two seconds, until a moment or its end."""
    started, samples = time.monotonic(), []
    while (now := time.monotonic()) < until and process.poll() is None:
        samples.append(Sample((now - begin) / 60, now - started, memory(process.pid)))
        time.sleep(2)
    return samples


def killed_run(
    folder: Path, options: list[str], minutes: float
) -> tuple[list[Sample], list[float]]:
    """Samples of its memory, and the minutes at which it was killed."""
    chance, begin, samples, kills = random.Random(0), time.monotonic(), [], []
    end = begin + 60 * minutes
    last_kill = end - 2 * SETTLED  # later, the process may not be there yet to be asked to stop
    process = start(folder.parent, *options, "--name", folder.name, "--checkpoint-every", "1m")
    while True:
        kill_at = time.monotonic() + 60 * chance.uniform(2, 8)
        kill_at = kill_at if kill_at < last_kill else end
        samples += watch(process, min(kill_at, end), begin)
        if process.poll() is not None:
            raise SystemExit(f"the run ended by itself, with exit code {process.returncode}")
        if time.monotonic() >= end:
            break
        kill(process)
        kills.append((time.monotonic() - begin) / 60)
        process = start(folder.parent, "--resume", str(folder))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143, process.returncode
    return samples, kills


def whole_run(folder: Path, options: list[str], step: int) -> None:
    """The same run without interruption, until the checkpoint of a step is there."""
    every = ["--checkpoint-every", f"{step}steps", "--keep", "1"]
    process = start(folder.parent, *options, "--name", folder.name, *every)
    while not (folder / f"step-{step}.pt").exists() and process.poll() is None:
        time.sleep(2)
    kill(process)


def equal(a: dict, b: dict) -> bool:
    parts = [(a[part], b[part]) for part in ("model", "ema")]
    return all(torch.equal(x[name], y[name]) for x, y in parts for name in x)


def spread(samples: list[Sample], minutes: float) -> tuple[list[Sample], float]:
    """The largest sample of each minute in the last three quarters, and how far they are apart."""
    by_minute: dict[int, list[Sample]] = {}
    for sample in samples:
        by_minute.setdefault(int(sample.minute), []).append(sample)
    settled = [
        max(each, key=lambda sample: sample.megabytes)
        for each in by_minute.values()
        if min(sample.age for sample in each) >= SETTLED and each[0].minute >= minutes / 4
    ]
    values = [sample.megabytes for sample in settled]
    return settled, (max(values) - min(values)) / min(values)


def plot(samples: list[Sample], settled: list[Sample], kills: list[float], path: Path) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    minutes = [sample.minute for sample in samples]
    axes.plot(minutes, [sample.megabytes for sample in samples], lw=0.6, color="tab:gray")
    axes.plot([s.minute for s in settled], [s.megabytes for s in settled], ".", color="tab:blue")
    for minute in kills:
        axes.axvline(minute, color="tab:red", lw=0.8)
    axes.set(xlabel="minutes", ylabel="memory, MB", ylim=(0, None))
    axes.set_title("grey: every 2 s; blue: each minute's maximum; red: SIGKILL", fontsize=9)
    figure.savefig(path, dpi=110)


def main(options: Options) -> None:
    logdir = options.logdir or Path(mkdtemp(prefix="soak-"))
    data = ["--data", options.data, "--data-root", str(options.data_root)]
    samples, kills = killed_run(logdir / "killed", [*OPTIONS, *data], options.minutes)
    _, killed = checkpoint.load(logdir / "killed" / "last.pt")
    settled, spread_of_memory = spread(samples, options.minutes)
    plot(samples, settled, kills, options.plot)
    rows = [f"{s.minute:.2f},{s.age:.0f},{s.megabytes:.1f}\n" for s in samples]
    (logdir / "memory.csv").write_text("minute,age_of_process,megabytes\n" + "".join(rows))
    memories = [sample.megabytes for sample in settled]
    print(f"{options.minutes:g} minutes, {killed['step']} steps, killed {len(kills)} times")
    print(
        f"memory {min(memories):.0f} to {max(memories):.0f} MB in {len(settled)} minutes, "
        f"{spread_of_memory:.1%} apart",
        flush=True,
    )
    whole_run(logdir / "whole", [*OPTIONS, *data], killed["step"])
    _, whole = checkpoint.load(logdir / "whole" / f"step-{killed['step']}.pt")
    same = equal(whole, killed)
    print("bit-identical to the run that was not killed" if same else "the weights DIFFER")
    raise SystemExit(not same or spread_of_memory > 0.02)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
