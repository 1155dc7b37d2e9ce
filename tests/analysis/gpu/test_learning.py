"""Networks trained concurrently, each in a process whose output goes to a file."""

import pytest

from analysis.gpu import learning

LONG_OUTPUT = """
import sys
print("x" * (1 << 17))  # more than a pipe holds
sys.exit("no such data")
"""


@pytest.fixture
def runs(monkeypatch):
    """Trainings with long output that fail."""
    popen = learning.subprocess.Popen

    def start(command, **options):
        return popen([learning.sys.executable, "-c", LONG_OUTPUT], **options)

    monkeypatch.setattr(learning.subprocess, "Popen", start)
    runs = learning.TrainingRuns("cpu", learning.EPOCHS)
    yield runs
    for process in runs.processes.values():
        process.wait(timeout=60)
    runs.folder.cleanup()


def test_skipped_networks_are_not_trained(runs):
    assert not runs.processes
    with pytest.raises(RuntimeError, match="no such data"):
        runs.accuracies("resnet20")
    assert list(runs.processes) == ["resnet20"]


def test_unread_output_does_not_block_a_training(runs):
    """Both start at once, and the second ends before its results are requested."""
    with pytest.raises(RuntimeError, match="no such data"):
        runs.accuracies("lenet")
    assert list(runs.processes) == ["lenet", "resnet20"]
    assert runs.processes["resnet20"].wait(timeout=60) == 1
    with pytest.raises(RuntimeError, match="no such data"):
        runs.accuracies("resnet20")
