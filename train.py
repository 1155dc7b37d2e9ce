"""Train a network from the command line.

python train.py --model lenet --data mnist
python train.py --resume runs/lenet-mnist
"""

import sys

from training import errors
from training.arguments.command_line import parse
from training.arguments.outputs import check_output
from training.memory.malloc import keep_freed_memory


def main() -> None:
    options = parse(sys.argv[1:], "Train a network; see it in TensorBoard.")
    if options.resume is None:
        check_output("--logdir", options.logdir)
    keep_freed_memory()
    from training.fit import fit  # imports torch: not before --help has been answered

    fit(options)


if __name__ == "__main__":
    errors.run(main)
