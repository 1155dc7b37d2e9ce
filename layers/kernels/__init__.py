"""The table: how every operator of layers/ops/ is made fast.

A row names the kernels of an operator in order of preference.  The first whose `supports` answers
None computes a call; where none does, the operator's definition.  Nothing else in layers/ chooses.
This folder is optional: without it the table is empty, and everything is computed by definitions.
"""

from ..ops.registry import Kernel
from . import (
    batch_norm,
    conv_im2col,
    conv_im2col_nchw,
    conv_pointwise,
    conv_winograd,
    local_response_norm,
    locally_connected,
    lp_pool,
    max_pool,
    triton,
    window_sum,
)

TABLE: dict[str, tuple[Kernel, ...]] = {
    # convolution
    "conv2d": (
        triton.conv.CONV2D,
        conv_winograd.CONV2D,
        conv_pointwise.CONV2D,
        conv_im2col_nchw.CONV2D,
        conv_im2col.CONV2D,
    ),
    "conv2d_input": (
        triton.conv.CONV2D_INPUT,
        conv_winograd.CONV2D_INPUT,
        conv_pointwise.CONV2D_INPUT,
        conv_im2col_nchw.CONV2D_INPUT,
        conv_im2col.CONV2D_INPUT,
        conv_im2col.CONV2D_INPUT_BY_TAPS,
    ),
    "conv2d_weight": (
        triton.conv_weight.CONV2D_WEIGHT,
        conv_winograd.CONV2D_WEIGHT,
        conv_pointwise.CONV2D_WEIGHT,
        conv_im2col_nchw.CONV2D_WEIGHT,
        conv_im2col.CONV2D_WEIGHT,
    ),
    # locally connected layer
    "locally_connected2d": (
        triton.locally_connected.LOCALLY_CONNECTED2D,
        locally_connected.LOCALLY_CONNECTED2D,
    ),
    "locally_connected2d_input": (
        triton.locally_connected.LOCALLY_CONNECTED2D_INPUT,
        locally_connected.LOCALLY_CONNECTED2D_INPUT,
        locally_connected.LOCALLY_CONNECTED2D_INPUT_BY_TAPS,
    ),
    "locally_connected2d_weight": (
        triton.locally_connected.LOCALLY_CONNECTED2D_WEIGHT,
        locally_connected.LOCALLY_CONNECTED2D_WEIGHT,
    ),
    # pooling
    "max_pool2d": (
        triton.max_pool.MAX_POOL2D,
        max_pool.MAX_POOL2D_CONTIGUOUS,
        max_pool.MAX_POOL2D_CHANNELS_LAST,
    ),
    "max_pool2d_gather": (triton.max_pool.MAX_POOL2D_GATHER, max_pool.MAX_POOL2D_GATHER),
    "max_pool2d_backward": (triton.max_pool.MAX_POOL2D_BACKWARD, max_pool.MAX_POOL2D_BACKWARD),
    "window_sum": (triton.window_sum.WINDOW_SUM, window_sum.WINDOW_SUM),
    "window_sum_backward": (
        triton.window_sum.WINDOW_SUM_BACKWARD,
        window_sum.WINDOW_SUM_BACKWARD,
    ),
    "lp_pool2d": (triton.lp_pool.LP_POOL2D, lp_pool.L2_POOL2D, lp_pool.LP_POOL2D),
    "lp_pool2d_backward": (
        triton.lp_pool.LP_POOL2D_BACKWARD,
        lp_pool.L2_POOL2D_BACKWARD,
        lp_pool.LP_POOL2D_BACKWARD,
    ),
    # normalisation
    "batch_norm": (
        triton.batch_norm.BATCH_NORM,
        batch_norm.BATCH_NORM,
        batch_norm.BATCH_NORM_BY_OPERATIONS,
    ),
    "batch_norm_backward": (
        triton.batch_norm.BATCH_NORM_BACKWARD,
        batch_norm.BATCH_NORM_BACKWARD,
        batch_norm.BATCH_NORM_BACKWARD_BY_OPERATIONS,
    ),
    "local_response_norm": (
        triton.local_response_norm.LOCAL_RESPONSE_NORM,
        local_response_norm.LOCAL_RESPONSE_NORM,
    ),
    "local_response_norm_backward": (
        triton.local_response_norm.LOCAL_RESPONSE_NORM_BACKWARD,
        local_response_norm.LOCAL_RESPONSE_NORM_BACKWARD,
    ),
}
