"""What `summarize.py` and `visualize.py` do: a network in numbers, and in pictures."""
