"""What `evaluate.py` does: a trained network's answers, to a data set or to image files."""
