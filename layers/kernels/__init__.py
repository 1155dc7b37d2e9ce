"""The table: how every operator of layers/ops/ is made fast.

A row names the kernels of an operator in order of preference.  The first whose `supports` answers
None computes a call; where none does, the operator's definition.  Nothing else in layers/ chooses.
This folder is optional: without it the table is empty, and everything is computed by definitions.
"""

from ..ops.registry import Kernel
from . import conv_im2col, conv_im2col_nchw, conv_pointwise, conv_winograd

TABLE: dict[str, tuple[Kernel, ...]] = {
    # convolution
    "conv2d": (
        conv_winograd.CONV2D,
        conv_pointwise.CONV2D,
        conv_im2col_nchw.CONV2D,
        conv_im2col.CONV2D,
    ),
    "conv2d_input": (
        conv_winograd.CONV2D_INPUT,
        conv_pointwise.CONV2D_INPUT,
        conv_im2col_nchw.CONV2D_INPUT,
        conv_im2col.CONV2D_INPUT,
        conv_im2col.CONV2D_INPUT_BY_TAPS,
    ),
    "conv2d_weight": (
        conv_winograd.CONV2D_WEIGHT,
        conv_pointwise.CONV2D_WEIGHT,
        conv_im2col_nchw.CONV2D_WEIGHT,
        conv_im2col.CONV2D_WEIGHT,
    ),
    # locally connected layer
    # pooling
    # normalisation
    # activations
}
