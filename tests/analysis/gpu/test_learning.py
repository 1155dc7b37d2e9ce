"""Networks trained side by side, each in a process whose output goes to a file."""

import pytest

from analysis.gpu import learning

LONG_OUTPUT = """
import sys
print("x" * (1 << 20))  # more than a pipe holds
sys.exit("no such data")
"""


@pytest.fixture
def started(monkeypatch):
    """Trainings that write much and fail; a list of those that were started."""
    names, popen = [], learning.subprocess.Popen

    def start(command, **options):
        names.append(command[3])
        return popen([learning.sys.executable, "-c", LONG_OUTPUT], **options)

    monkeypatch.setattr(learning.subprocess, "Popen", start)
    return names


def test_networks_that_are_skipped_are_not_trained(started):
    rows = dict(learning.rows("cpu", tiny=False))
    assert list(rows) == ["lenet", "resnet20"]
    assert started == []
    with pytest.raises(RuntimeError, match="no such data"):
        rows["resnet20"]()
    assert started == ["resnet20"]


def test_nobody_waits_for_a_pipe_to_be_read(started):
    """Both begin at once, and the second ends while the first is awaited."""
    runs = learning.TrainingRuns("cpu", learning.NETWORKS)
    with pytest.raises(RuntimeError, match="no such data"):
        runs.accuracies("lenet")
    assert started == ["lenet", "resnet20"]
    assert runs.processes["resnet20"].wait(timeout=60) == 1
    with pytest.raises(RuntimeError, match="no such data"):
        runs.accuracies("resnet20")
