"""`pip install -e .`: the packages can be imported from any folder, the requirements are known."""

import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGES = ("layers", "models", "analysis", "training")


def requirements(name):
    return {*(ROOT / name).read_text().split()}


def test_an_editable_install(tmp_path):
    """Of a copy, because the build leaves a folder in its source; without network."""
    source, site, elsewhere = (tmp_path / name for name in ("source", "site", "elsewhere"))
    elsewhere.mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=lambda *_: ["__pycache__"])
    for name in ("pyproject.toml", "README.md", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", str(site), "-e", str(source)], check=True)

    script = f"import site; site.addsitedir({str(site)!r}); import {', '.join(PACKAGES)}"
    files = ", ".join(f"{package}.__file__" for package in PACKAGES)
    found = subprocess.run(
        [sys.executable, "-c", f"{script}; print({files}, sep='\\n')"],
        cwd=elsewhere, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == [str(source / name / "__init__.py") for name in PACKAGES]

    (installed,) = distributions(path=[str(site)])
    assert installed.name == "convnets"
    needed = {*map(Requirement, installed.requires or [])}
    extra = {f'{line}; extra == "dev"' for line in requirements("requirements-dev.txt")}
    assert needed == {*map(Requirement, requirements("requirements.txt") | extra)}
