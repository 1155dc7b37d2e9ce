"""What an epoch leaves behind is freed when it ends."""

import gc
import weakref

from training.fit import fit
from training.memory.tidy import tidying
from training.monitor import tensorboard


class Part:
    """Refers to itself, as a figure's axes do."""

    def __init__(self):
        self.whole = self


def test_what_refers_to_itself_is_freed_at_once():
    before, frozen = Part(), gc.get_freeze_count()
    with tidying() as tidy:
        part = weakref.ref(Part())
        assert part() is not None
        tidy()
        assert part() is None
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == 0
    assert before.whole is before


def test_a_run_leaves_no_figure_behind(quick, monkeypatch):
    """Those of an epoch are gone when the next one is drawn, whenever Python would look."""
    figures, alive = [], []
    original = tensorboard.plots.mistakes

    def drawn(*arguments):
        alive.append(sum(figure() is not None for figure in figures))
        figure = original(*arguments)
        figures.append(weakref.ref(figure))
        return figure

    monkeypatch.setattr(tensorboard.plots, "mistakes", drawn)
    gc.disable()
    try:
        fit(quick)
    finally:
        gc.enable()
    assert len(figures) == 2
    assert alive == [0, 0]
