"""The table: how every operator of layers/ops/ is made fast.

A row names the kernels of an operator in order of preference.  The first whose `supports` answers
None computes a call; where none does, the operator's definition.  Nothing else in layers/ chooses.
This folder is optional: without it the table is empty, and everything is computed by definitions.
"""

from ..ops.registry import Kernel
from . import (
    conv_im2col,
    conv_im2col_nchw,
    conv_pointwise,
    conv_winograd,
    lp_pool,
    max_pool,
    window_sum,
)

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
    "max_pool2d": (max_pool.CONTIGUOUS, max_pool.CHANNELS_LAST),
    "max_pool2d_gather": (max_pool.GATHER,),
    "max_pool2d_backward": (max_pool.SCATTER,),
    "window_sum": (window_sum.SUM,),
    "window_sum_backward": (window_sum.BACKWARD,),
    "lp_pool2d": (lp_pool.L2, lp_pool.LP),
    "lp_pool2d_backward": (lp_pool.L2_BACKWARD, lp_pool.LP_BACKWARD),
    # normalisation
    # activations
}
