"""What fits the memory of this machine, and what is said where something does not."""
