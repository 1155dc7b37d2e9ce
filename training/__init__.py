"""Data, recipes, the training loop, checkpoints and TensorBoard.

A run goes from `options.py` and `recipes.py` to `fit.py`, and from there through `setup.py` and
`epochs.py` to `loop.py`, which takes the steps; what a step changes is in `train_state.py`.
Around this way lie

    arguments/    what the command line may say
    data/         from files to the batches of a step
    checkpoints/  the folder of a run, and what is in it to go on from
    monitor/      what a person sees of a run: progress, TensorBoard, tables
    memory/       what fits this machine
    processes/    one run in several processes
    evaluation/   what `evaluate.py` does
    inspection/   what `summarize.py` and `visualize.py` do

Importing this package imports no torch: `train.py --help` must answer at once.
"""
