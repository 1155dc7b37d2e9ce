"""A table as plain text and as Markdown; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Columns of words are aligned left, columns of numbers right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = (0,)  # indices of the columns of words

    def __post_init__(self) -> None:
        """A column in which no row has anything is left out."""
        kept = [i for i in range(len(self.head)) if not self.rows or any(r[i] for r in self.rows)]
        object.__setattr__(self, "rows", [[row[i] for i in kept] for row in self.rows])
        object.__setattr__(self, "words", [n for n, i in enumerate(kept) if i in self.words])
        object.__setattr__(self, "head", [self.head[i] for i in kept])

    def text(self) -> str:
        columns = list(zip(self.head, *self.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]

        def line(cells: Sequence[str]) -> str:
            return "  ".join(
                f"{cell:<{width}}" if index in self.words else f"{cell:>{width}}"
                for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()

        lines = [self.title, *([line(self.head)] if any(self.head) else []), *map(line, self.rows)]
        return "\n".join((*lines, ""))

    def markdown(self) -> str:
        """For TensorBoard's text page and gpu.md."""
        lines = [
            self.head,
            [":--" if index in self.words else "--:" for index in range(len(self.head))],
            *self.rows,
        ]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"### {self.title}\n\n{body}\n"
