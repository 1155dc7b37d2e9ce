"""`.ci/gpu`: what a GPU says about the layers, in five minutes (docs/gpu.md).

    __main__     the command: part after part, each in a process of its own, results after each
    parts        the parts and how long each may take        process   a process with a deadline
    results      what was found, as gpu.json and gpu.md      report    the same as tables
    rows         inside such a process: one row after another

    facts        versions, bandwidth, products               operators   layers, one at a time
    compiled     some in plain torch, compiled               steps       training steps of networks
    learning     accuracies after training
    precision    ieee, tf32, bf16                            clock       milliseconds

The command itself does not import torch, so that a failure to do so is a failure of one part.
"""
