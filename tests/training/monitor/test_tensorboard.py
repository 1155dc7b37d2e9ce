"""What a run's folder shows in TensorBoard."""

import dataclasses
import threading

import pytest
import torch
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.training.curves import events
from training import fit, setup
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.monitor import plots, tensorboard
from training.monitor.tensorboard import Board


def runs(folder):
    """The lines in TensorBoard's list."""
    return {path.parent.relative_to(folder).as_posix()
            for path in folder.rglob("events.out.tfevents.*")}  # fmt: skip


def test_curves_and_no_histograms_unless_asked(quick):
    fit.fit(dataclasses.replace(quick, name="run"))
    train, val = (events(quick.logdir / "run" / part) for part in ("train", "val"))
    assert {
        "step/loss", "step/loader_wait", "step/images_per_second",
        "step/images_per_second_of_step", "step/images_per_second_of_loader", "epoch/seconds",
        "epoch/loader_wait", "epoch/memory_gb",
    } <= {*train.Tags()["scalars"]}  # fmt: skip
    assert {"epoch/accuracy_top5", "epoch/best_accuracy"} <= {*val.Tags()["scalars"]}
    assert 0.1 < train.Scalars("epoch/memory_gb")[-1].value < 100
    assert not events(quick.logdir / "run").Tags()["histograms"]
    fit.fit(dataclasses.replace(quick, name="profiled", profile=True, epochs=1))
    assert "weights/features.0.weight" in events(quick.logdir / "profiled").Tags()["histograms"]


def test_an_evaluation_is_no_further_run(quick):
    fit.fit(dataclasses.replace(quick, name="run", epochs=1))
    folder = quick.logdir / "run"
    before = runs(folder)
    for split in ("test", "val"):
        evaluate_checkpoint(folder, split=split)
    assert runs(folder) == before == {".", "train", "val"}
    found = events(folder).Tags()
    assert {"evaluate_test/accuracy", "evaluate_val/accuracy"} <= {*found["scalars"]}
    assert "evaluate_test/confusion_matrix" in found["images"]


def test_hparams_begin_with_what_runs_differ_in(quick):
    fit.fit(dataclasses.replace(quick, name="run", epochs=1))
    data = events(quick.logdir / "run").summary_metadata["_hparams_/session_start_info"]
    session = HParamsPluginData.FromString(data.plugin_data.content).session_start_info
    assert session.hparams["model"].string_value == "lenet"
    data = events(quick.logdir / "run").summary_metadata["_hparams_/experiment"]
    experiment = HParamsPluginData.FromString(data.plugin_data.content).experiment
    names = [info.name for info in experiment.hparam_infos]
    first = [info.name for info in experiment.hparam_infos if info.differs]
    assert sorted(first) == ["batch_size", "data", "layers", "lr", "model"]  # as the page sorts
    assert len(names) > 40
    assert experiment.metric_infos[0].name.tag == "final/test_accuracy"


def test_killed_before_its_first_checkpoint_it_starts_again(quick, monkeypatch):
    """Its input pictures and its graph are there once."""

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", cut)
    folder = quick.logdir / "run"
    for again in ({}, {"resume": folder}, {"resume": folder}):
        with pytest.raises(KeyboardInterrupt):
            fit.fit(dataclasses.replace(quick, name="run", **again))
    monkeypatch.undo()
    fit.fit(dataclasses.replace(quick, resume=folder, epochs=1))
    found = events(folder)
    assert len(found.Images("inputs/original")) == 1
    assert len([*folder.glob("events.out.tfevents.*")]) == 1


def test_a_graph_of_many_layers_is_left_out(tmp_path, quick, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard, "MAX_DRAWN", 3)
    board = Board(tmp_path)
    network = torch.nn.Sequential(*[torch.nn.ReLU() for _ in range(4)])
    board.start(quick, network, torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    board.close()
    assert "graph is left out: 4 layers would take minutes" in capsys.readouterr().out
    assert not events(tmp_path).Tags()["graph"]
    assert "inputs/original" in events(tmp_path).Tags()["images"]


def test_an_exception_in_another_thread_reaches_who_asked_for_it(monkeypatch):
    seen = []
    monkeypatch.setattr(tensorboard, "_excepthook_before", seen.append)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert [failure.exc_type for failure in seen] == [ZeroDivisionError]
    assert setup.Board is Board


def test_titles_fit_above_their_images():
    assert plots.mistake("4", "9") == "4 as 9"
    assert plots.mistake("tabby cat", "tiger") == "tabby cat\nas tiger"
    assert plots.mistake("Egyptian mau cat", "lynx") == "Egyptian m…\nas lynx"
