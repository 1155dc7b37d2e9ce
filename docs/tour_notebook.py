# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Convolutional networks, in cells
#
# The tour of [chapter.md](chapter.md), with the layers, the networks and the analyses as a library.
# It needs nothing but this repository, and takes a minute.

# %%
import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import torch
from IPython.display import Image, display

sys.path.insert(0, str(Path.cwd().parent))  # from docs/
sys.path.insert(0, str(Path.cwd()))  # or from the repository's root
import layers
import layers.functional as F
import models
from analysis.predicted_memory import largest_batch, predict
from analysis.receptive_field import receptive_fields
from analysis.surgery import to_convolutional
from analysis.walk import walk
from training import visualize
from training.album import Album
from training.fit import fit
from training.loaded_network import load_network
from training.recipes import recipe

# %% [markdown]
# ## A convolution by hand
#
# A filter slides over the image; at each place it multiplies what it covers, over the whole depth,
# and adds up. Integers as in the chapter's animation, so that every product can be checked.

# %%
torch.manual_seed(0)
x = torch.randint(0, 3, (1, 3, 5, 5)).double()
w = torch.randint(-1, 2, (2, 3, 3, 3)).double()
b = torch.tensor([1.0, 0.0]).double()
y = F.conv2d(x, w, b, stride=2, padding=1)

padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
by_hand = torch.zeros_like(y)
for c in range(2):
    for i in range(3):
        for j in range(3):
            window = padded[0, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            by_hand[0, c, i, j] = (window * w[c]).sum() + b[c]
assert torch.equal(y, by_hand)
y

# %% [markdown]
# ## Sizes and sharing
#
# AlexNet's first layer: (227 − 11 + 0)/4 + 1 = 55. Without sharing it would have 105,705,600
# parameters; 96 filters have 34,944.

# %%
conv1 = layers.Conv2d(3, 96, 11, stride=4)
volume = conv1(torch.randn(1, 3, 227, 227)).shape
units = 55 * 55 * 96
print(tuple(volume), f"{units:,} units, {units * (11 * 11 * 3 + 1):,} parameters without sharing")
print(f"{sum(p.numel() for p in conv1.parameters()):,} with it")

# %% [markdown]
# ## As a matrix product
#
# Every window is stretched into a column: X_col is 363 × 3025, a row of W is a filter.

# %%
image = torch.randn(1, 3, 227, 227)
x_col = torch.nn.functional.unfold(image, 11, stride=4)[0]
w_row = conv1.weight.detach().flatten(1)
product = (w_row @ x_col).view(1, 96, 55, 55) + conv1.bias.detach()[:, None, None]
print(tuple(x_col.shape), tuple(w_row.shape), (product - conv1(image)).abs().max().item())

# %% [markdown]
# ## Backward
#
# One number computed three ways, ⟨g, C(x, w)⟩ = ⟨x, C_input(w, g)⟩ = ⟨w, C_weight(x, g)⟩, is all
# there is to the derivatives of a convolution: each operator is the derivative of the others.

# %%
g = torch.randint(-1, 2, (1, 2, 3, 3)).double()
options = dict(stride=2, padding=1)
print(
    (g * F.conv2d(x, w, **options)).sum().item(),
    (x * F.conv2d_input(x.shape, w, g, **options)).sum().item(),
    (w * F.conv2d_weight(x, w.shape, g, **options)).sum().item(),
)
torch.autograd.gradgradcheck(F.conv2d, (x.requires_grad_(), w.requires_grad_()))

# %% [markdown]
# ## Pooling, and its switches
#
# Max-pooling remembers which pixel won, in one byte. Where windows overlap, the way back has to
# add; `torch.nn.functional.max_unpool2d` assigns, and loses what it overwrites.

# %%
overlapping = torch.tensor([[[[0.0, 0, 0, 0, 0], [0, 0, 9, 0, 0], [0, 0, 0, 0, 0]]]])
pooled, switches = F.max_pool2d_with_switches(overlapping, 3, stride=2)
back = F.max_unpool2d(pooled, switches, 3, stride=2, output_size=(3, 5))
_, indices = torch.nn.functional.max_pool2d(overlapping, 3, 2, return_indices=True)
torch_s = torch.nn.functional.max_unpool2d(pooled, indices, 3, 2, output_size=(3, 5))
print(
    "pooled", pooled.flatten().tolist(), "back", back.max().item(), "torch's", torch_s.max().item()
)

# %% [markdown]
# ## What a unit sees
#
# Two layers of 3 × 3 see 5 × 5, with dilations 1 and 2 they see 7 × 7, and a third with dilation 4
# sees 15 × 15. The walk over a network gives a row for each call.

# %%
pattern = "INPUT[1x32x32] -> CONV3-4 -> CONV3-4d2 -> CONV3-4d4 -> FC10"
calls = walk(models.build(pattern), (1, 1, 32, 32))
fields = receptive_fields(calls)
for call in calls:
    print(f"{call.name:<14}{call.op:<10}{tuple(call.shape)!s:<20}{fields[call.name].size}")

# %% [markdown]
# ## Train a network
#
# LeNet on scikit-learn's handwritten digits, as `train.py` trains it.

# %%
os.chdir(mkdtemp())  # for its run, and the pictures
results = fit(replace(recipe("lenet", "digits"), epochs=10))

# %% [markdown]
# ## Look into it
#
# Its filters, before and after; an image on its way through; what the maps of the second
# convolution respond to, by a deconvnet; and what becomes of the answer when a grey square covers a
# part of the image.

# %%
trained = load_network("runs/lenet-digits")


def show(paths):
    for path in paths:
        display(Image(path, width=760))


with Album(Path("pictures"), trained.step) as album:
    show(visualize.filters(trained, album, ["features.0"]))
    show(visualize.columns(trained, album, ["7"], [], 12, 8))
    show(visualize.deconvnet(trained, album, ["features.4"], [], 8, ["deconvnet"], None, 256))
    show(visualize.occlusion(trained, album, ["7"], None, None, 128, 64))

# %% [markdown]
# ## Fully connected layers are convolutions
#
# The same weights slide over a larger image: LeNet, which pads nowhere, answers for every place as
# it would for a crop.

# %%
sliding = to_convolutional(trained.model, (1, 32, 32))
strip = torch.randn(1, 1, 32, 64)
with torch.no_grad():
    scores = sliding(strip)
    crop = trained.model(strip[..., 12:44])
print(tuple(scores.shape), (scores[..., 0, 3] - crop).abs().max().item())

# %% [markdown]
# ## Memory, without taking any
#
# The peak of a training step, from one run on tensors without numbers, and the largest batch that
# fits.


# %%
def vgg():
    return models.build("vgg11", num_classes=10, image_size=32)


print(predict(vgg, (64, 3, 32, 32)))
print(largest_batch(vgg, (3, 32, 32), 2e9).size, "images fit 2 GB")
