"""The folder of a run and the checkpoints in it: written whole, read without executing anything."""
