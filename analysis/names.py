"""Keys of results, for modules that read them without importing torch."""

OURS, THEIRS = "ours", "torch.nn"
REFERENCE = "reference"  # ours, computed by the definitions in layers/ops/ alone
PRECISIONS = ("ieee", "tf32", "bf16")  # on a GPU: see analysis/gpu/precision.py
