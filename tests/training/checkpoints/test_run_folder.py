"""The folder of a run: how it appears, and where it cannot."""

import dataclasses
import os

import pytest

from training import fit
from training.arguments.outputs import check_output
from training.checkpoints import run_folder
from training.errors import UserError
from training.options import load_yaml


def test_a_folder_appears_with_its_options(quick, monkeypatch):
    """Whenever the process is killed, there is no folder of that name, or one to be continued."""

    def killed(*_):
        raise KeyboardInterrupt

    options = dataclasses.replace(quick, name="mine")
    monkeypatch.setattr(run_folder, "to_yaml", killed)
    with pytest.raises(KeyboardInterrupt):
        run_folder.new_folder(options)
    assert not (quick.logdir / "mine").exists()
    monkeypatch.undo()
    folder = run_folder.new_folder(options)
    assert folder == quick.logdir / "mine"
    assert load_yaml(folder / "config.yaml") == options
    with pytest.raises(UserError, match="already exists: continue it with --resume"):
        run_folder.new_folder(options)
    fit.fit(dataclasses.replace(load_yaml(folder / "config.yaml"), resume=folder, epochs=1))


def test_a_folder_that_holds_nothing_is_free(quick):
    (quick.logdir / "mine").mkdir()
    folder = run_folder.new_folder(dataclasses.replace(quick, name="mine"))
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_names_are_numbered(quick):
    names = [run_folder.new_folder(quick).name for _ in range(3)]
    assert names == ["lenet-digits", "lenet-digits-2", "lenet-digits-3"]
    assert sorted(path.name for path in quick.logdir.iterdir()) == names


def test_a_name_that_is_too_long(quick):
    with pytest.raises(UserError, match=r"cannot create .*x\.\.\. \(File name too long\)"):
        run_folder.new_folder(dataclasses.replace(quick, name="x" * 300))
    assert not list(quick.logdir.iterdir())


def test_a_name_that_is_a_file(quick):
    (quick.logdir / "mine").write_text("a note")
    with pytest.raises(UserError, match="mine already exists"):
        run_folder.new_folder(dataclasses.replace(quick, name="mine"))
    assert (quick.logdir / "mine").read_text() == "a note"


@pytest.mark.parametrize("name", ["/", "../x", "a/../../b"])
def test_a_name_outside_of_logdir(quick, name):
    with pytest.raises(UserError, match="is not inside --logdir"):
        dataclasses.replace(quick, name=name).check()


def test_a_folder_that_may_not_be_read(quick, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder.Path, "mkdir", refused)
    with pytest.raises(UserError, match=r"cannot create .* \(Permission denied\): choose another"):
        run_folder.new_folder(quick)


def test_a_run_that_cannot_be_written_to_is_not_continued(quick, monkeypatch):
    folder = run_folder.new_folder(quick)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="cannot be continued, because it cannot be written to"):
        fit.fit(dataclasses.replace(quick, resume=folder))
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_outputs_are_looked_at_and_not_made(tmp_path, monkeypatch):
    check_output("--output", tmp_path / "new" / "er")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for name in ("file", "file/below"):
        with pytest.raises(UserError, match=r"--output .*: .*/file is not a folder; choose"):
            check_output("--output", tmp_path / name)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="cannot be written to; choose another"):
        check_output("--logdir", tmp_path / "new")
