"""Several processes train as one does, and end together: torchrun with two, on CPUs, by gloo."""

import csv
import dataclasses
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training import fit
from training.checkpoints import checkpoint
from training.processes import distributed
from training.recipes import recipe

ROOT = Path(__file__).parents[3]
IMAGES = 361  # for validation, of 1437; the others are 51 batches of 21 and one of 5
LENET = dataclasses.replace(
    recipe("lenet", "digits"), dtype="float64", image_size=16, epochs=2, batch_size=21,
    val_fraction=0.2509, log_every=5, checkpoint_every="5steps", clip_norm=1.0, ema=0.9,
)  # fmt: skip
slow = pytest.mark.slow


def start(options, *torchrun, processes=2, resume=None, standalone=True, **more):
    """torchrun with a run of these options; all that differ from the recipe's are given."""
    default = recipe(options.model, options.data)
    arguments = [] if resume is None else ["--resume", str(resume)]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if resume is None and value != getattr(default, field.name):
            flag = f"--{field.name.replace('_', '-')}"
            arguments += [flag] if value is True else [flag, str(value)]
    if resume is None:
        arguments += ["--model", options.model, "--data", options.data]
    command = [
        sys.executable, "-m", "torch.distributed.run", *["--standalone"] * standalone,
        f"--nproc-per-node={processes}", *torchrun, "train.py", *arguments,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}, **more,
    )  # fmt: skip


def train(options, *torchrun, **more):
    """What it said; it must succeed."""
    process = start(options, *torchrun, **more)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def ranks(process):
    """The processes that torchrun has started: {rank: pid}."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for pid in children:
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        found |= {int(e[5:]): int(pid) for e in environment if e.startswith("RANK=")}
    return found


def wait_for(file, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ours(said):
    """The lines that are not torchrun's."""
    return [line for line in said.splitlines() if line.startswith(("error", "interrupted"))]


def losses(folder):
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    names = "train_loss", "train_acc1", "val_loss", "val_acc1", "val_acc5"
    return [float(row[name]) for row in rows for name in names]


def assert_same_run(a, b):
    """Weights, averages, curves and random numbers, to the last bit."""
    assert losses(a) == losses(b)
    a, b = (checkpoint.load(folder / "last.pt")[1] for folder in (a, b))
    assert a["step"] == b["step"]
    for part in ("model", "ema"):
        for name, tensor in (a[part] or {}).items():
            assert torch.equal(tensor, b[part][name]), name
    assert torch.equal(a["random"]["torch"], b["random"]["torch"])
    for one, other in zip(a["random_of_others"], b["random_of_others"], strict=True):
        assert torch.equal(one["torch"], other["torch"])


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def two(logdir):
    """The run of two processes that nothing disturbs: its folder, and what it said."""
    said = train(dataclasses.replace(LENET, logdir=logdir, name="two"))
    return logdir / "two", said


def assert_equals_one_process(options, folder, tolerance=1e-9):
    fit.fit(dataclasses.replace(options, logdir=folder.parent, name=f"{folder.name}-one"))
    alone = folder.with_name(f"{folder.name}-one")
    assert losses(folder) == pytest.approx(losses(alone), rel=tolerance, abs=tolerance)
    a, b = (checkpoint.load(run / "last.pt")[1] for run in (folder, alone))
    assert a["step"] == b["step"]
    for name, tensor in a["model"].items():
        assert torch.allclose(tensor, b["model"][name], rtol=1e-7, atol=tolerance), name


def test_two_processes_train_as_one_does(two):
    """Losses, accuracies and weights, in batches of 11 and 10 images, and a last one of 3 and 2."""
    folder, said = two
    assert f"{1437 - IMAGES:,} training and {IMAGES} validation images" in said
    assert said.count("epoch 2/2") == said.count("test accuracy") == 1  # one process speaks
    assert len(list(folder.glob("events*"))) == 1
    accuracy = losses(folder)[-2]
    assert accuracy * IMAGES == pytest.approx(round(accuracy * IMAGES), abs=1e-9)
    assert_equals_one_process(LENET, folder)


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=slow)])
def test_a_rank_that_dies_ends_the_other_and_torchrun_restarts_both(two, logdir, rank):
    """SIGKILL of one: the other says why and ends; the restarted ones go on with the same run."""
    folder = logdir / f"restarted-{rank}"
    options = dataclasses.replace(LENET, logdir=logdir, name=folder.name, workers=1 - rank)
    process = start(options, "--max-restarts=1")
    wait_for(folder / "last.pt", process)
    found = ranks(process)
    os.kill(found[rank], signal.SIGKILL)
    killed, other = time.monotonic(), Path(f"/proc/{found[1 - rank]}")
    while other.exists():
        assert time.monotonic() < killed + 60
        time.sleep(0.05)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    (sentence,) = ours(said)
    assert sentence.startswith(
        f"error: process {1 - rank} cannot reach another one of this run's 2"
    )
    assert f"--resume {folder}" in sentence
    assert not list(logdir.glob(f"{folder.name}-*"))
    assert_same_run(folder, two[0])


@slow
def test_a_lost_peer_writes_no_checkpoint_and_a_plain_restart_resumes(two, logdir):
    folder = logdir / "killed"
    process = start(dataclasses.replace(LENET, logdir=logdir, name="killed"))
    wait_for(folder / "last.pt", process)
    os.kill(ranks(process)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert len(ours(said)) == 1
    assert checkpoint.load(folder / "last.pt")[1]["step"] % 5 == 0  # as --checkpoint-every says
    train(LENET, resume=folder)
    assert_same_run(folder, two[0])


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun(two, logdir, number):
    """All finish the step, one writes last.pt and says how to go on; so does a signal to any."""
    folder = logdir / number.name
    process = start(dataclasses.replace(LENET, logdir=logdir, name=number.name, workers=1))
    wait_for(folder / "last.pt", process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    (sentence,) = ours(said)
    step = checkpoint.load(folder / "last.pt")[1]["step"]
    assert sentence == (
        f"interrupted after step {step}, which {folder}/last.pt keeps; go on with: "
        f"torchrun --nproc-per-node=2 train.py --resume {folder}"
    )
    process = start(LENET, resume=folder)
    wait_for_step(folder, step, process)
    os.kill(ranks(process)[1], number)
    said, _ = process.communicate(timeout=60)
    assert f"exitcode  : {128 + number} " in said
    assert len(ours(said)) == 1
    train(LENET, resume=folder)
    assert_same_run(folder, two[0])


def wait_for_step(folder, step, process):
    while checkpoint.load(folder / "last.pt")[1]["step"] <= step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


@slow
def test_residual_networks_with_synchronised_batch_normalisation(logdir):
    options = dataclasses.replace(
        recipe("resnet20", "digits"), dtype="float64", image_size=16, batch_size=9, epochs=1,
        val_fraction=0.2509, limit_steps=4, log_every=1, sync_bn=True, accumulate=2, logdir=logdir,
    )  # fmt: skip
    whole = dataclasses.replace(options, accumulate=1)
    train(dataclasses.replace(whole, name="resnet"))
    assert_equals_one_process(whole, logdir / "resnet")


@slow
@pytest.mark.parametrize(
    ("name", "changes", "processes"),
    [
        ("parts", dict(accumulate=3, limit_steps=60), 2),
        ("three", dict(batch_size=50, epochs=1), 3),
        ("fewer-images-than-processes", dict(batch_size=2, limit_steps=8), 3),
        ("batch-norm-share", dict(model="resnet20", batch_size=2, limit_steps=3, sync_bn=True), 3),
        ("compiled", dict(compile=True, limit_steps=6), 2),
        ("torch", dict(model="resnet20", layers="torch", limit_steps=3, sync_bn=True), 2),
        ("plateau", dict(optimizer="adamw", schedule="plateau", early_stop=1, epochs=3), 2),
    ],
)  # fmt: skip
def test_what_else_is_equal(logdir, name, changes, processes):
    options = dataclasses.replace(LENET, logdir=logdir, **changes)
    train(dataclasses.replace(options, name=name), processes=processes)
    assert_equals_one_process(options, logdir / name)


@slow
def test_a_run_of_one_process_goes_on_in_two(logdir):
    """The same global batches, in the same order."""
    options = dataclasses.replace(LENET, logdir=logdir, name="grown", epochs=1)
    fit.fit(options)
    fit.fit(dataclasses.replace(options, name="alone", epochs=1))
    fit.fit(dataclasses.replace(options, name="alone", epochs=2, resume=logdir / "alone"))
    process = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "train.py", "--resume", str(logdir / "grown"), "--epochs", "2",
        ],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    assert process.returncode == 0
    assert losses(logdir / "grown") == pytest.approx(losses(logdir / "alone"), rel=1e-9)


@slow
def test_a_user_error_is_said_once_and_all_end_with_its_code(two, logdir):
    process = start(dataclasses.replace(LENET, logdir=logdir, name="two"))
    said, _ = process.communicate(timeout=120)
    assert ours(said) == [
        f"error: {two[0]} already exists: continue it with --resume {two[0]}, or choose another "
        "--name"
    ]
    assert said.count("exitcode  : 2 ") == 2


@slow
def test_what_is_random_in_each_process_goes_on_when_resumed(logdir):
    """Dropout's generators, and mixup in each process's share."""
    options = dataclasses.replace(
        LENET, model="INPUT[1x16x16] -> CONV3-4 -> BN -> RELU -> POOL2 -> DROPOUT0.5 -> FC",
        dtype="float32", mixup=0.2, augment="affine", amp="bf16", logdir=logdir, name="random",
    )  # fmt: skip
    train(options)
    process = start(dataclasses.replace(options, name="random-cut"))
    wait_for(logdir / "random-cut" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    train(options, resume=logdir / "random-cut")
    assert_same_run(logdir / "random-cut", logdir / "random")
    random = checkpoint.load(logdir / "random" / "last.pt")[1]
    assert not torch.equal(random["random"]["torch"], random["random_of_others"][0]["torch"])


@slow
def test_a_process_that_is_silent_ends_the_others(logdir):
    """As one whose machine is gone: no connection breaks."""
    process = start(dataclasses.replace(LENET, logdir=logdir, name="silent", epochs=20))
    wait_for(logdir / "silent" / "last.pt", process)
    found = ranks(process)
    os.kill(found[1], signal.SIGSTOP)
    stopped = time.monotonic()
    while Path(f"/proc/{found[0]}").exists():
        assert time.monotonic() < stopped + 60
        time.sleep(0.1)
    os.kill(found[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert len(ours(said)) == 1
    assert "process 0 cannot reach another one" in said


@slow
def test_a_machine_that_is_gone(two, logdir):
    """Two torchruns with a process each, one of which is killed with its process."""
    options = dataclasses.replace(LENET, logdir=logdir, name="machines")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    rendezvous = (
        "--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=7",
        "--rdzv-conf=is_host={}",
    )  # fmt: skip
    machines = [
        start(options, *(text.format(host) for text in rendezvous), processes=1, standalone=False)
        for host in ("1", "0")
    ]
    wait_for(logdir / "machines" / "last.pt", machines[0])
    (gone,) = ranks(machines[1]).values()
    (other,) = ranks(machines[0]).values()
    machines[1].kill()
    os.kill(gone, signal.SIGKILL)
    killed = time.monotonic()
    while Path(f"/proc/{other}").exists():
        assert time.monotonic() < killed + 60
        time.sleep(0.1)
    machines[0].terminate()
    said, _ = machines[0].communicate(timeout=60)
    assert len(ours(said)) == 1
    machines[1].communicate()
    train(LENET, resume=logdir / "machines")
    assert_same_run(logdir / "machines", two[0])


@slow
def test_a_full_disk_of_the_one_that_writes_ends_all(logdir):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    options = dataclasses.replace(LENET, logdir=logdir, name="full")
    said, _ = start(options, preexec_fn=limited).communicate(timeout=120)
    (sentence,) = ours(said)
    assert "cannot write" in sentence
    assert said.count("exitcode  : 2 ") == 2
    assert said.count("Traceback") == 1  # torchrun's own


@slow
def test_a_loss_that_is_not_finite_stops_all_at_once(logdir):
    options = dataclasses.replace(LENET, logdir=logdir, name="diverged", lr=1e6, clip_norm=None)
    said, _ = start(options).communicate(timeout=120)
    (sentence,) = ours(said)
    assert "the loss stopped being finite by step" in sentence
    assert said.count("exitcode  : 2 ") == 2


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("smallest", [1, 2])
def test_shares_are_the_whole_and_none_is_too_small(monkeypatch, size, smallest):
    monkeypatch.setattr(distributed, "world_size", lambda: size)
    for count in range(1, 30):
        images = []
        for rank in range(size):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            images.append(list(range(count))[distributed.share(count, smallest)])
        assert [image for part in images for image in part] == list(range(count))
        sizes = [len(part) for part in images if part]
        assert len(sizes) == distributed.sharers(count, smallest)
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(count, smallest)
