"""What dropout takes."""


def check(p: float, inplace: bool) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability must be between 0 and 1, got {p}")
    if inplace:
        raise ValueError("inplace=True is not supported: use inplace=False")
