"""Two mistakes to be found: one that only a gradient shows, one that is a matter of convention.

python compare.py check docs/examples/wrong_conv.py:Assigns --shape 8,3,32,32 --args "3, 16, 3"
python compare.py check docs/examples/wrong_conv.py:Flips --shape 8,3,32,32 --args "3, 16, 3"
"""

import torch
import torch.nn.functional as F
from my_conv import Convolve, MyConv2d, taps


class AssigningConvolve(Convolve):
    @staticmethod
    def backward(ctx, dy):
        _, dw, _ = Convolve.backward(ctx, dy)
        x, weight = ctx.saved_tensors
        dx_col = torch.einsum("ock,nohw->nckhw", weight.flatten(2), dy)
        dx = torch.zeros_like(x)
        for pixels, values in zip(
            taps(dx, weight.shape[2], ctx.stride), dx_col.unbind(2), strict=True
        ):
            pixels.copy_(values)  # wrong: where windows overlap, the last one wins
        return dx, dw, None


class Assigns(MyConv2d):
    def forward(self, x):
        x = F.pad(x, [self.padding[0]] * 4)
        return AssigningConvolve.apply(x, self.weight, self.stride[0]) + self.bias[:, None, None]


class Flips(MyConv2d):
    def forward(self, x):
        x = F.pad(x, [self.padding[0]] * 4)
        flipped = self.weight.flip(2, 3)  # wrong: the convolution of signal processing
        return Convolve.apply(x, flipped, self.stride[0]) + self.bias[:, None, None]
