"""The options of a run: one dataclass for the command line, config.yaml and TensorBoard."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from .bounds import check_bounds
from .errors import UserError
from .files import write_text


@dataclass(frozen=True)
class Options:
    """Train a network. Defaults are the recipe for the chosen --model and --data."""

    model: str = "lenet5"
    """A network, or a layer pattern; `command_line` lists them in the help."""
    layers: Literal["custom", "torch", "reference"] = "custom"
    """Whose layers: ours, torch.nn's, or ours computed by their plain definitions alone."""
    data: str = "digits"
    """Data set: digits, mnist, fashion_mnist, cifar10, cifar100, imagefolder."""
    data_root: Path = Path("data")
    """Folder the data set lies in, or is downloaded to."""
    num_classes: int | None = None
    """Scores the network gives; by default one for each class of the data, and no fewer."""
    image_size: int = 32
    """Height and width of the network's input, in pixels."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from pixels scaled to [0, 1]; one number per channel."""
    std: tuple[float, ...] = (0.5,)
    """Divides them; one number per channel."""
    augment: Literal["none", "affine", "crop-flip", "crop-flip-lighting", "randaugment"] = "none"
    """Random change to each training image: small rotations, scalings, shears and shifts; a shift by up to an eighth and a mirror image; the same and AlexNet's shift of the colours; or torchvision's RandAugment. From an imagefolder, each also cuts out a random part of the picture."""
    mixup: float = 0.0
    """Mix pairs of training images and their classes, in a proportion from Beta(mixup, mixup): the paper's alpha, 0.2 for ImageNet; 0 mixes none."""
    cutmix: float = 0.0
    """Put a random part of one training image into another, and mix the classes by area, from Beta(cutmix, cutmix); with mixup, either at random."""
    val_fraction: float = 0.1
    """Part of the training set that is held out for validation."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """What to do about files of an imagefolder that cannot be read: look at every header before training and stop at a bad one; or decode all of every file once, and leave the bad ones out."""
    epochs: int = 20
    """Passes over the training set."""
    limit_steps: int | None = None
    """End the training after so many steps in all, if the epochs have not ended before."""
    batch_size: int = 128
    """Images per step."""
    accumulate: int = 1
    """Parts that a step's images are computed in, one after the other, their gradients added up: the same step (but for batch normalisation) in a part of the memory."""
    weights: str | None = None
    """What to start from instead of chance: imagenet (torchvision's weights), or a checkpoint, a run's folder or a file of torchvision's. A head for another number of classes is replaced."""
    freeze: bool = False
    """Train the head alone; batch normalisation keeps the statistics of the weights."""
    optimizer: Literal["sgd", "nesterov", "adamw"] = "sgd"
    """Update rule: SGD with momentum, the same with Nesterov's, or AdamW."""
    lr: float = 0.05
    """Learning rate at its highest."""
    head_lr: float | None = None
    """Of the head, the layer that gives the scores; by default that of all others."""
    min_lr: float = 0.0
    """Learning rate below which the schedule does not go, but for the warm-up."""
    momentum: float = 0.9
    """Of sgd and nesterov; also adamw's first beta."""
    clip_norm: float | None = None
    """Scale the gradient down where its norm, over all parameters, is larger."""
    ema: float | None = None
    """Decay per step of an exponential moving average of the weights, such as 0.999; it is what is validated, kept and tested."""
    weight_decay: float = 5e-4
    """Pull of the weights towards zero."""
    decay: Literal["all", "weights"] = "all"
    """What weight decay pulls at: all parameters, or weights alone, not biases and scales."""
    schedule: Literal["step", "cosine", "one-cycle", "plateau"] = "cosine"
    """Learning rate over time, after the warm-up: divided by 10 at each milestone; half a cosine to zero; one-cycle, up for 30 % of the run, then down; or plateau, divided by 10 when the validation loss has not improved for 10 epochs."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Where the step schedule divides, as fractions of the run."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises from zero; of one-cycle, up to its peak."""
    label_smoothing: float = 0.0
    """Part of the truth that is spread over all classes."""
    early_stop: int | None = None
    """Stop when the validation accuracy has not improved for so many epochs."""
    seed: int = 0
    """Of initialisation, split, shuffling and augmentation."""
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
    deterministic: bool = False
    """Let torch use deterministic algorithms alone: the same weights again on the same GPU."""
    profile: bool = False
    """Record some steps of the first epoch; the trace is in the run's folder, for TensorBoard or Perfetto."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How images and filters lie in memory: auto is channels_last on a CPU, where most networks of ours train faster, and contiguous elsewhere. It changes nothing but rounding, and the masks of dropout between convolutions."""
    workers: int = 0
    """Processes that load images; worth it for imagefolder only. The results do not depend on it."""
    logdir: Path = Path("runs")
    """Folder of all runs, for `tensorboard --logdir`."""
    name: str = ""
    """Folder of this run inside logdir; by default MODEL-DATA, numbered if taken."""
    log_every: int = 10
    """Steps between points of the per-step curves."""
    checkpoint_every: str = ""
    """Write last.pt within an epoch, too: every so many minutes or steps, such as 10m or 500steps."""
    keep: int = 0
    """Older checkpoints to keep beside last.pt and best.pt, as step-NUMBER.pt."""
    resume: Path | None = None
    """Folder of an interrupted run (or its last.pt): continue it with the options it had."""

    def check(self) -> None:
        """Raise UserError for values that no run can have."""
        check_bounds(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        if not self.mean or len(self.mean) != len(self.std):
            raise UserError("--mean and --std need one number per channel each")
        checkpoint_interval(self.checkpoint_every)
        if self.min_lr > self.lr:
            raise UserError(f"--min-lr {self.min_lr:g} is more than --lr {self.lr:g}")
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs:g} is longer than the run, --epochs "
                f"{self.epochs}: the rate would never reach --lr; warm up for a part of it, such as "
                f"{self.epochs / 10:g}"
            )
        if self.accumulate > self.batch_size:
            raise UserError(
                f"--accumulate {self.accumulate} parts of --batch-size {self.batch_size} images: "
                "a part needs an image"
            )
        if self.amp != "none" and self.dtype == "float64":
            raise UserError(f"--amp {self.amp} lowers float32, and not --dtype float64: use one")
        if self.freeze and self.weights is None:
            raise UserError("--freeze keeps weights that are trained: say which with --weights")
        if self.augment == "crop-flip-lighting" and len(self.mean) != 3:
            raise UserError(
                "--augment crop-flip-lighting shifts colours: it needs images of three channels; "
                "give crop-flip"
            )
        if Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise UserError(f"--name {self.name} is not inside --logdir: give a plain name")
        if self.weights is not None and not self.weights.strip():
            raise UserError(
                "--weights is empty (an unset shell variable?): give imagenet or a file, or leave "
                "the option out to start from chance"
            )


def ended_by(options: Options, epoch: int, step: int, best_epoch: int) -> str | None:
    """The option that ends a run which has trained so far, or None: something is left to train."""
    if epoch >= options.epochs:
        return "epochs"
    if options.limit_steps is not None and step >= options.limit_steps:
        return "limit-steps"
    if options.early_stop is not None and epoch - best_epoch >= options.early_stop:
        return "early-stop"
    return None


def checkpoint_interval(text: str) -> tuple[float | None, int | None]:
    """(minutes, steps) of --checkpoint-every, one of which is None; both for an empty one."""
    if not text:
        return None, None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(m|steps)", text)
    if found and found[2] == "m" and float(found[1]) > 0:
        return float(found[1]), None
    if found and found[2] == "steps" and found[1].isdigit() and int(found[1]) > 0:
        return None, int(found[1])
    raise UserError(f"--checkpoint-every must be like 10m or 500steps, got {text!r}")


def to_dict(options: Options) -> dict[str, object]:
    """Plain values only: what YAML, a checkpoint and TensorBoard can hold."""
    plain = dataclasses.asdict(options)
    return {
        key: str(value)
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in plain.items()
    }


def from_dict(plain: Any, source: Path | str = "options") -> Options:
    """The inverse of `to_dict`.

    Args:
        source: the file they come from, for the sentence.
    Raises:
        UserError: these are not the options of a run, or those of another version.
    """
    kinds = get_type_hints(Options)
    if not isinstance(plain, dict):
        raise UserError(f"{source} does not hold the options of a run")
    strange = sorted(map(str, set(plain) - set(kinds)))
    if strange:
        raise UserError(
            f"{source}: {', '.join(strange)} is not known here: is it of another version?"
        )
    return Options(**{k: _typed(f"{source}: {k}", kinds[k], v) for k, v in plain.items()})


def _typed(name: str, kind: Any, value: Any) -> Any:
    """A plain value as the option's type; YAML reads 5e-2 as a word."""
    choices = get_args(kind)
    if type(None) in choices:
        if value is None:
            return None
        kind = choices[0]
    try:
        if get_origin(kind) is Literal:
            if value not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
            return value
        if value is None or (kind is bool) != isinstance(value, bool):
            raise TypeError
        if get_origin(kind) is tuple:
            return tuple(float(v) for v in value)
        if kind is int and int(value) != float(value):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        words = getattr(kind, "__name__", str(kind))
        raise UserError(f"{name} must be {words}, got {value!r}") from None


def save_yaml(options: Options, path: Path) -> None:
    write_text(path, yaml.safe_dump(to_dict(options), sort_keys=False))


def load_yaml(path: Path) -> Options:
    """
    Raises:
        UserError: no such file, or not the options of a run.
    """
    try:
        plain = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent} is no run: it has no {path.name}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # a wrong byte, a wrong date, a thousand [
        plain = None
    return from_dict(plain, path)
