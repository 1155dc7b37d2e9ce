"""`compare.py models`: networks compared one after another, and told in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from . import accuracy
from .parity import STEPS, Parity, compare
from .report import Bar, bars
from .setting import Setting
from .survey import MIB
from .table import Table


@dataclass
class Networks:
    setting: Setting
    found: list[Parity] = field(default_factory=list)

    def run(self, names: Sequence[str], tell: Callable[[str], None], **sizes: int | None) -> None:
        """
        Args:
            sizes: batch_size, image_size and num_classes of `parity.compare`.
        Raises:
            ValueError: the image is too small for a network.
        """
        for number, name in enumerate(names, 1):
            self.found.append(compare(name, self.setting, **sizes))
            tell(f"{number}/{len(names)}  {name}  {self.found[-1].ratio}")

    @property
    def tolerance(self) -> float:
        return accuracy.NETWORK[self.setting.dtype]

    @property
    def failed(self) -> list[str]:
        """Networks with an error beyond the tolerance."""
        return [one.name for one in self.found if not one.within(self.tolerance)]

    def tables(self) -> list[Table]:
        numbers = []
        for one in self.found:
            pairs = (one.logits, one.gradients, one.losses)
            errors = (" / ".join(f"{e:.0e}" for e in pair.values()) for pair in pairs)
            size = " x ".join(map(str, one.shape))
            numbers.append([one.name, size, *errors, f"{one.exact:.0e}", one.note])
        prices = []
        for one in self.found:
            seconds = (median(one.times[side].both) for side in ("ours", "torch.nn"))
            peaks = [one.peak[side] for side in ("ours", "torch.nn")]
            prices.append(
                [
                    one.name, *(f"{value * 1e3:.1f}" for value in seconds), str(one.ratio),
                    *(f"{value / MIB:.0f}" for value in peaks), f"{peaks[0] / peaks[1]:.2f}",
                ]
            )  # fmt: skip
        return [
            Table(
                f"Relative errors, ours / torch.nn's (tolerance {self.tolerance:.0e}); and ours "
                "against torch.nn's in float64",
                ["", "images", "logits", "gradients", f"{STEPS} losses", "in float64", ""],
                numbers,
                words=(0, 6),
            ),
            Table(
                "A training step: milliseconds, ratio (spread over the rounds); MiB at its peak",
                ["", "ours", "torch.nn", "ratio", "peak", "torch.nn", "ratio"],
                prices,
            ),
        ]

    def bars(self) -> list[Bar]:
        return [Bar(one.name, *one.ratio, "training step") for one in self.found]

    def chart(self) -> Figure:
        return bars(self.bars(), "compare.py models")

    def document(self) -> dict[str, Any]:
        return {"setting": self.setting.describe(), "rows": [_flat(one) for one in self.found]}


def _flat(one: Parity) -> dict[str, Any]:
    """Seconds and bytes."""
    return {
        "name": one.name,
        "shape": " x ".join(map(str, one.shape)),
        "error.float64": one.exact,
        **{f"{side}.error.logits": value for side, value in one.logits.items()},
        **{f"{side}.error.gradients": value for side, value in one.gradients.items()},
        **{f"{side}.error.losses": value for side, value in one.losses.items()},
        "note": one.note,
        **{f"{side}.step": median(times.both) for side, times in one.times.items()},
        **{f"ratio.{name}": value for name, value in one.ratio._asdict().items()},
        **{f"{side}.peak": size for side, size in one.peak.items()},
    }
