"""How the layers meet the rest of PyTorch: what torch.nn's layers do for torch's tools, these do.

Where outputs lie in memory, autocast, torch's flags for precision, torch.library, torch.fx, FLOP
counters.  Nobody needs to read these files to believe a number.
"""
