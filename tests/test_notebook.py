"""docs/tour.ipynb is docs/tour_notebook.py with its outputs, and runs."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

DOCS = Path(__file__).parent.parent / "docs"


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def training_cell(notebook):
    return next(c for c in notebook.cells if c.cell_type == "code" and "fit(replace(" in c.source)


def test_the_notebook_is_in_step_with_its_text():
    """`python docs/make_notebook.py` brings it there."""
    text, notebook = jupytext.read(DOCS / "tour_notebook.py"), jupytext.read(DOCS / "tour.ipynb")
    assert cells(text) == cells(notebook)
    assert any("image/png" in str(cell.get("outputs")) for cell in notebook.cells)
    assert (DOCS / "tour.ipynb").stat().st_size < 1_000_000


@pytest.mark.filterwarnings("ignore")  # of the kernel's event loop
def test_the_notebook_runs():
    notebook = jupytext.read(DOCS / "tour_notebook.py")
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": DOCS}})
    client.execute()
    assert "MACs" not in str(
        training_cell(notebook)["outputs"]
    )  # the run's summary is for its folder
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "105,705,600 parameters without sharing" in printed
    assert "(363, 3025)" in printed
    assert "does not tile neatly: 54.25" in printed
    assert "test accuracy" in printed
