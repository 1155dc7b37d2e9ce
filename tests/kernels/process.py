"""What can only be seen in a process of its own: an import that fails, a fork."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str, folder: Path = ROOT, **environment: str) -> str:
    """What the code prints in a new interpreter, where `folder` holds layers/; it must succeed."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
