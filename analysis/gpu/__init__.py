"""`.ci/gpu`: tests and measures the layers on a GPU in five minutes (docs/gpu.md).

    __main__     the command: runs the parts, each in its own process, and writes the results
    parts        the parts and their time limits          process     a process with a deadline
    results      results of a part, and gpu.json          report      tables and gpu.md
    rows         runs inside such a process and measures its rows in order

    facts        versions, bandwidth, matrix products     operators   single layers
    compiled     some of them in plain torch, compiled    steps       training steps of networks
    learning     accuracies after training                kernels     Triton compiles beforehand
    precision    ieee, tf32, bf16                         clock       milliseconds

The command itself does not import torch, so that a broken torch fails a part, not the command.
"""
