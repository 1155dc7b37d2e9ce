"""Which values an option may have: the same bounds for every command."""

from __future__ import annotations

import math
from typing import Any

from ..errors import UserError

LARGE, SMALL = 1e9, 1e-9  # of numbers that are no counts; float32 still computes with them
NOTHING = 1e-30  # what is smaller could become 0 in float32
COUNTS = {  # from 1 to what a mistake would exceed
    "epochs": 10**6, "batch_size": 10**6, "image_size": 10**4, "log_every": 10**9,
    "accumulate": 10**6, "limit_steps": 10**12, "early_stop": 10**6, "num_classes": 10**6,
    "columns": 100, "maps": 10**4, "images": 10**9, "size": 10**4, "stride": 10**4,
    "shifts": 64,
}  # fmt: skip
FROM_ZERO = {  # counts and numbers from 0
    "workers": 256, "keep": 10**6, "threads": 1024, "map": 10**6, "grey": 255,
}  # fmt: skip
MILESTONES = "fractions of the run between 0 and 1, such as 0.33 0.67 for 30 and 60 of 90 epochs"
FRACTIONS = ("momentum", "label_smoothing", "ema")  # in [0, 1)
POSITIVE = ("lr", "head_lr", "clip_norm")
NOT_NEGATIVE = (
    "weight_decay", "warmup_epochs", "mixup", "cutmix", "min_lr", "seconds",
)  # fmt: skip


def check_bounds(**values: Any) -> None:
    """
    Args:
        values: of options, by name; None is no value.
    Raises:
        UserError: one of them is not finite, or beyond the option's bounds.
    """
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float):
                continue
            expected = _expected(name, number)
            if expected:
                raise UserError(f"--{name.replace('_', '-')} must be {expected}, got {number}")


def _expected(name: str, number: float) -> str | None:
    """What the number should be, if it is not."""
    if isinstance(number, float) and not math.isfinite(number):
        return "finite"
    if name in COUNTS or name in FROM_ZERO:
        least, most = (1, COUNTS[name]) if name in COUNTS else (0, FROM_ZERO[name])
        if number < least:
            return f"at least {least}"
        return f"at most {most:,}" if number > most else None
    if name == "seed":
        return None if 0 <= number < 2**32 else f"between 0 and {2**32 - 1}"
    if name == "val_fraction":
        return None if 0 < number < 1 else "between 0 and 1"
    if name in FRACTIONS:
        return None if 0 <= number < 1 else "in [0, 1)"
    if name == "milestones":
        return None if 0 <= number <= 1 else MILESTONES
    if name in POSITIVE and number <= 0:
        return "positive"
    if name in NOT_NEGATIVE and number < 0:
        return "at least 0"
    if name == "std" and number < SMALL:
        return f"positive ones, at least {SMALL:g}"
    if 0 < abs(number) < NOTHING:
        return f"0, or at least {NOTHING:g} in size"
    return f"at most {LARGE:g} in size" if abs(number) > LARGE else None
