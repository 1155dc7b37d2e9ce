"""The table: how every operator of layers/ops/ is made fast.

A row names the kernels of an operator in order of preference.  The first whose `supports` answers
None computes a call; where none does, the operator's definition.  Nothing else in layers/ chooses.
This folder is optional: without it the table is empty, and everything is computed by definitions.
"""

from ..ops.registry import Kernel

TABLE: dict[str, tuple[Kernel, ...]] = {
    # convolution
    # locally connected layer
    # pooling
    # normalisation
    # activations
}
