"""docs/tour.ipynb, from docs/tour_notebook.py: every cell run, with what it prints and draws.

python docs/make_notebook.py
"""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parent


def main() -> None:
    notebook = jupytext.read(DOCS / "tour_notebook.py")
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": DOCS}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else another one at every run
        cell["metadata"] = {}
    nbformat.write(notebook, DOCS / "tour.ipynb")


if __name__ == "__main__":
    main()
