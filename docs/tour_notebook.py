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
import warnings
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
from analysis.strongest import strongest
from analysis.summary import summarize
from analysis.summary_table import text
from analysis.surgery import to_convolutional
from analysis.walk import walk
from training.fit import fit
from training.inspection import visualize
from training.inspection.album import Album
from training.inspection.loaded_network import load_network
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
# The paper says 224 pixels, which gives 54.25: the windows do not tile the image. A layer leaves
# out what is left over; a network written as a pattern warns.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    models.build("INPUT[3x224x224] -> CONV11-96s4p0 -> RELU -> FC10")
print(conv1(torch.randn(1, 3, 224, 224)).shape[2:], *(warning.message for warning in caught))

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
inputs = x.requires_grad_(), w.requires_grad_()
torch.autograd.gradcheck(F.conv2d, inputs), torch.autograd.gradgradcheck(F.conv2d, inputs)

# %% [markdown]
# ## 1×1 and dilated convolutions
#
# A filter of 1 × 1 is a dot product over depth at every pixel: a matrix product.

# %%
pixels = torch.randn(1, 3, 32, 32)
w_1x1 = torch.randn(8, 3, 1, 1)
as_matrix = torch.einsum("kc,nchw->nkhw", w_1x1[:, :, 0, 0], pixels)
print((F.conv2d(pixels, w_1x1) - as_matrix).abs().max().item())

# %% [markdown]
# A dilated filter has gaps between its weights, and sees more with as many. Two layers of 3 × 3
# see 5 × 5, with dilations 1 and 2 they see 7 × 7, and a third with dilation 4 sees 15 × 15. The
# walk over a network gives a row for each call.

# %%
pattern = "INPUT[1x32x32] -> CONV3-4 -> CONV3-4d2 -> CONV3-4d4 -> FC10"
calls = walk(models.build(pattern), (1, 1, 32, 32))
fields = receptive_fields(calls)
for call in calls:
    print(f"{call.name:<14}{call.op:<10}{tuple(call.shape)!s:<20}{fields[call.name].size}")

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
# ## Normalisation
#
# AlexNet damps every activation by its neighbours across channels, after its equation. Batch
# normalisation, which stayed, gives each channel mean 0 and variance 1 over the batch.

# %%
activations = 5 + 3 * torch.randn(8, 16, 10, 10)
squares = torch.nn.functional.pad(activations**2, (0, 0, 0, 0, 2, 2))
sums = sum(squares[:, k : k + 16] for k in range(5))
damped = F.local_response_norm(activations, 5, 1e-4, 0.75, 2.0, divide_alpha=False)
equation = activations / (2 + 1e-4 * sums) ** 0.75
print("difference from the equation", (damped - equation).abs().max().item())
normalised = layers.BatchNorm2d(16)(activations)
print(
    f"mean {normalised.mean((0, 2, 3)).abs().max():.6f}, "
    f"variance {normalised.var((0, 2, 3), correction=0).mean():.4f}"
)

# %% [markdown]
# ## A network as a pattern
#
# The chapter's notation is a network: it is built, and its volumes, weights and receptive fields
# are listed.

# %%
pattern = "INPUT[1x32x32] -> [CONV3-16 -> RELU -> POOL2]*2 -> FC64 -> RELU -> FC10"
print(text(summarize(models.build(pattern), (1, 1, 32, 32), name="a pattern", layers="custom")))

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
# part of the image. Some maps respond to few images, or to none; the deconvnet is shown for maps
# that respond to at least nine, as many as a panel has patches.

# %%
trained = load_network("runs/lenet-digits")


batches = ((trained.sees(images), numbers) for images, numbers in trained.batches(360, 256))
ninth = strongest(trained.model, "features.4", batches).values[:, 8]
respond = ninth.gt(0).nonzero().flatten().tolist()
print(f"{len(respond)} of {len(ninth)} maps respond to nine images or more: {respond}")


def show(paths):
    for path in paths:
        display(Image(path, width=760))


with Album(Path("pictures"), trained.step) as album:
    show(visualize.filters(trained, album, ["features.0"]))
    show(visualize.columns(trained, album, ["7"], [], 12, 8))
    show(
        visualize.deconvnet(
            trained, album, ["features.4"], respond[:8], 8, ["deconvnet"], None, 256
        )
    )
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
