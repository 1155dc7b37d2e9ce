"""The options of a run, in the groups that `train.py --help` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Network:
    """Which network, whose layers compute it, and what it starts from."""

    model: str = "lenet5"
    """A network, or a layer pattern; `command_line` lists them in the help."""
    layers: Literal["custom", "torch", "reference"] = "custom"
    """Whose layers: ours, torch.nn's, or ours computed by their plain definitions alone."""
    num_classes: int | None = None
    """Scores the network gives; by default one for each class of the data, and no fewer."""
    weights: str | None = None
    """What to start from instead of chance: imagenet (torchvision's weights), a run's folder, or a checkpoint: ours, torchvision's, timm's, or a state_dict. A head for another number of classes is replaced."""
    freeze: bool = False
    """Train the head alone; batch normalisation keeps the statistics of the weights."""


@dataclass(frozen=True)
class Data:
    """Images, and how they come to the network."""

    data: str = "digits"
    """Data set: digits, mnist, fashion_mnist, cifar10, cifar100, imagefolder."""
    data_root: Path = Path("data")
    """Folder the data set lies in, or is downloaded to."""
    image_size: int = 32
    """Height and width of the network's input, in pixels."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from pixels scaled to [0, 1]; one number per channel."""
    std: tuple[float, ...] = (0.5,)
    """Divides them; one number per channel."""
    val_fraction: float = 0.1
    """Part of the training set that is held out for validation."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """What to do about files of an imagefolder that cannot be read: look at every header before training and stop at a bad one; or decode all of every file once, and leave the bad ones out."""
    workers: int = 0
    """Processes that load images; worth it for imagefolder only. The results do not depend on it."""


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random in training."""

    augment: Literal["none", "affine", "crop-flip", "crop-flip-lighting", "randaugment"] = "none"
    """Random change to each training image: small rotations, scalings, shears and shifts; a shift by up to an eighth and a mirror image; the same and AlexNet's shift of the colours along their principal components; or torchvision's RandAugment. From an imagefolder, each also cuts out a random part of the picture."""
    mixup: float = 0.0
    """Mix pairs of training images and their classes, in a proportion from Beta(mixup, mixup): the paper's alpha, 0.2 for ImageNet; 0 mixes none."""
    cutmix: float = 0.0
    """Put a random part of one training image into another, and mix the classes by area, from Beta(cutmix, cutmix); with mixup, either at random."""
    label_smoothing: float = 0.0
    """Part of the truth that is spread over all classes."""


@dataclass(frozen=True)
class Optimisation:
    """What a step does."""

    batch_size: int = 128
    """Images per step."""
    accumulate: int = 1
    """Parts that a step's images are computed in, one after the other, their gradients added up: the same step (but for batch normalisation) in a part of the memory."""
    optimizer: Literal["sgd", "nesterov", "adamw"] = "sgd"
    """Update rule: SGD with momentum, the same with Nesterov's, or AdamW."""
    lr: float = 0.05
    """Learning rate at its highest."""
    head_lr: float | None = None
    """Of the head, the layer that gives the scores; by default that of all others."""
    momentum: float = 0.9
    """Of sgd and nesterov; also adamw's first beta."""
    weight_decay: float = 5e-4
    """Pull of the weights towards zero."""
    decay: Literal["all", "weights"] = "all"
    """What weight decay pulls at: all parameters, or weights alone, not biases and scales."""
    clip_norm: float | None = None
    """Scale the gradient down where its norm, over all parameters, is larger."""
    ema: float | None = None
    """Decay per step of an exponential moving average of the weights, such as 0.999; it is what is validated, kept and tested."""


@dataclass(frozen=True)
class Schedule:
    """How long, and at which learning rate."""

    epochs: int = 20
    """Passes over the training set."""
    limit_steps: int | None = None
    """End the training after so many steps in all, if the epochs have not ended before."""
    early_stop: int | None = None
    """Stop when the validation accuracy has not improved for so many epochs."""
    schedule: Literal["step", "cosine", "one-cycle", "plateau"] = "cosine"
    """Learning rate over time, after the warm-up: divided by 10 at each milestone; half a cosine to zero; one-cycle, up for 30 % of the run, then down; or plateau, divided by 10 when the validation loss has not improved for 10 epochs."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Where the step schedule divides, as fractions of the run."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from zero; of one-cycle, up to its peak."""
    min_lr: float = 0.0
    """Learning rate below which the schedule does not go, but for the warm-up."""


@dataclass(frozen=True)
class Computation:
    """Where, and in which precision."""

    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, xpu, or any other device of torch's; auto takes an accelerator if there is one."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of weights and activations."""
    amp: Literal["none", "bf16", "fp16"] = "none"
    """Automatic mixed precision: products in bfloat16, or in float16 with a scaled loss."""
    sync_bn: bool = False
    """Batch normalisation over the images of all processes (layers.SyncBatchNorm), and not over each one's share."""
    compile: bool = False
    """Compile the network by torch.compile: faster steps after a slow first one."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How images and filters lie in memory: auto is channels_last on a CPU, where most networks of ours train faster, and contiguous elsewhere. It changes nothing but rounding, and the masks of dropout between convolutions."""
    deterministic: bool = False
    """Let torch use deterministic algorithms alone: the same weights again on the same GPU."""
    seed: int = 0
    """Of initialisation, split, shuffling and augmentation."""


@dataclass(frozen=True)
class Records:
    """What a run leaves in its folder, and how it goes on."""

    logdir: Path = Path("runs")
    """Folder of all runs, for `tensorboard --logdir`."""
    name: str = ""
    """Folder of this run inside logdir; by default MODEL-DATA, numbered if taken."""
    resume: Path | None = None
    """Folder of an interrupted run (or its last.pt): continue it with the options it had."""
    log_every: int = 10
    """Steps between points of the per-step curves."""
    checkpoint_every: str = ""
    """Write last.pt within an epoch, too: every so many minutes or steps, such as 10m or 500steps."""
    keep: int = 0
    """Older checkpoints to keep beside last.pt and best.pt, as step-NUMBER.pt."""
    profile: bool = False
    """Record some steps of the first epoch, for TensorBoard or Perfetto; the trace is in the run's folder. Also draw histograms of weights and gradients after every epoch."""
