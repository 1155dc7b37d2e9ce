"""Names that results are filed under, for those who read them without importing torch."""

OURS, THEIRS = "ours", "torch.nn"
PRECISIONS = ("ieee", "tf32", "bf16")  # of a GPU: see analysis/gpu/precision.py
