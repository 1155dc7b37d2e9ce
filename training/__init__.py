"""Data, recipes, the training loop, checkpoints and TensorBoard.

Importing this package imports no torch: `train.py --help` must answer at once.
"""
