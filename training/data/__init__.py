"""Data sets: from files to the batches that a step takes."""
