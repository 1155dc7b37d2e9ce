"""What `evaluate.py` does: a checkpoint's answers to a whole split, in numbers and pictures."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import classification_report
from torch.utils.tensorboard import SummaryWriter

import models

from ..checkpoints import checkpoint
from ..checkpoints.continued import check_weights
from ..checkpoints.files import to_json
from ..data import datasets
from ..data.batches import evaluation_batches
from ..device import choose_device
from ..errors import UserError
from ..loop import evaluate
from ..monitor import plots
from ..monitor.metrics import Evaluation
from ..monitor.progress import table
from ..train_state import load_model, new_train_state
from .calibration import expected_calibration_error
from .compare_answers import compare_answers, other_layer_set
from .confused import confused_pairs
from .views import AS_TRAINED, Views


def evaluate_checkpoint(
    path: Path,
    *,
    split: str = "test",
    layers: str | None = None,
    data_name: str | None = None,
    data_root: Path | None = None,
    batch_size: int = 256,
    device: str = "auto",
    memory_format: str | None = None,
    compare_layers: bool = False,
    views: Views = AS_TRAINED,
) -> dict[str, Any]:
    """Evaluate a checkpoint; draw its confusion matrix beside it and in TensorBoard.

    Args:
        compare_layers: evaluate with torch.nn's layers, too (or, if `layers` are those, with ours).
        views: how each image is looked at.
    Returns:
        checkpoint, model, layers, memory_format, data, split, images, top1, top5, loss,
        calibration_error (`expected_calibration_error`), images_per_second, classes (per class:
        precision, recall, f1-score, support), confused (`confused_pairs`), confusion_png (None if
        it could not be written), and with compare_layers also layer_sets (`compare_answers`), with
        views also those (`Views.described`).
    Raises:
        UserError: no or a foreign checkpoint, missing data, another number of classes.
    """
    path = path / "best.pt" if os.path.isdir(path) else path  # noqa: PTH112 - of any length
    options, saved = checkpoint.load(path)
    checkpoint.require(path, saved, "model", "classes", "step")
    changes: dict[str, Any] = {"layers": layers, "data": data_name, "data_root": data_root}
    changes["memory_format"] = memory_format
    options = dataclasses.replace(options, **{k: v for k, v in changes.items() if v is not None})
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, got {batch_size}")
    where = choose_device(device, getattr(torch, options.dtype))
    views.check(options.image_size)
    seen = dataclasses.replace(options, image_size=views.size(options))
    (dataset,), classes = datasets.load(seen, split)
    if len(classes) != len(saved["classes"]):
        raise UserError(
            f"{path} tells {len(saved['classes'])} classes apart, but {options.data} has "
            f"{len(classes)}: evaluate it on the data it was trained on"
        )
    if classes != saved["classes"] and data_name is None:
        raise UserError(f"the classes of {options.data_root} are not those {path} was trained on")

    def answers(layers: str) -> tuple[Evaluation, str]:
        """By a layer set, and the memory format in which it computed them."""
        chosen = dataclasses.replace(options, layers=layers)  # type: ignore[arg-type]
        state = new_train_state(chosen, len(classes), 1, where, training=False)
        check_weights(saved, state.model, options.model, path)
        load_model(state.evaluated, saved)
        with models.computing(layers):
            batches = evaluation_batches(dataset, batch_size, workers=options.workers)
            network = views.network(state.evaluated, options)
            more.setdefault("views", views.described(state.evaluated, options))
            return evaluate(state, batches, split, network), state.memory_format

    more: dict[str, Any] = {}
    result, used_format = answers(options.layers)
    if compare_layers:
        other = other_layer_set(options.layers)
        more["layer_sets"] = compare_answers(options.layers, result, other, answers(other)[0])

    png = path.with_name(f"confusion_{split}.png")
    drawn = True
    try:
        _draw(result, classes, png, split, saved["step"])
    except OSError as error:
        warnings.warn(
            f"{png} and TensorBoard's events are not written ({error.strerror or error}); the "
            "results stand here alone",
            stacklevel=2,
        )
        drawn = False
    per_class = classification_report(
        result.targets, result.predictions, labels=range(len(classes)), target_names=classes,
        output_dict=True, zero_division=0,
    )  # fmt: skip
    return {
        "checkpoint": str(path),
        "model": options.model,
        "layers": options.layers,
        "memory_format": used_format,
        "data": options.data,
        "split": split,
        "images": len(result.targets),
        "top1": result.acc1,
        "top5": result.accuracy(5),
        "loss": result.loss,
        "calibration_error": expected_calibration_error(result.logits, result.targets),
        "images_per_second": result.images_per_second,
        "classes": {name: per_class[name] for name in classes},
        "confused": confused_pairs(result.predictions, result.targets, classes),
        "confusion_png": str(png) if drawn else None,
        **more,
    }


def _draw(result: Evaluation, classes: list[str], png: Path, split: str, step: int) -> None:
    """The confusion matrix, as a file and in TensorBoard.

    Raises:
        OSError: the folder cannot be written to.
    """
    picture = plots.confusion(result.predictions, result.targets, classes)
    picture.savefig(png, dpi=120)
    with SummaryWriter(str(png.parent)) as board:  # the run's own line in the list of runs
        board.add_figure(f"evaluate_{split}/confusion_matrix", picture, step)
        board.add_scalar(f"evaluate_{split}/loss", result.loss, step)
        board.add_scalar(f"evaluate_{split}/accuracy", result.acc1, step)
        board.add_scalar(f"evaluate_{split}/accuracy_top5", result.accuracy(5), step)


def report(results: dict[str, Any], *, as_json: bool = False) -> str:
    """Results for a person, or for a program."""
    if as_json:
        return to_json(results).rstrip()
    rows = [
        ("checkpoint", results["checkpoint"]),
        ("model", f"{results['model']}, {results['layers']} layers, {results['memory_format']}"),
        ("data", f"{results['data']}, {results['images']:,} {results['split']} images"),
        ("top-1", f"{results['top1']:.2%}"),
        ("top-5", f"{results['top5']:.2%}"),
        ("loss", f"{results['loss']:.4f}"),
        ("calibration", f"{results['calibration_error']:.4f} expected calibration error"),
        ("images/s", f"{results['images_per_second']:.0f}"),
        ("confusion", results["confusion_png"] or "not written"),
    ]
    if (views := results["views"]) is not None:
        how = views.get("saving") or f"{views['crops']} crop(s)"
        rows.insert(3, ("views", f"{views['image_size']} x {views['image_size']} pixels, {how}"))
    if "layer_sets" in results:
        found = results["layer_sets"]
        largest = f"{found['largest_logit_difference']:.1e} of {found['largest_logit']:.1f}"
        changed = f"{found['changed_answers']:,} of {results['images']:,} answers changed"
        rows.append(
            (" and ".join(found["layers"]), f"{changed}; largest logit difference {largest}")
        )
    head = f"  {'class':<16}{'precision':>10}{'recall':>10}{'f1':>10}{'images':>10}"
    lines = [table(rows), "", head]
    for name, row in results["classes"].items():
        lines.append(
            f"  {name:<16}{row['precision']:>10.2%}{row['recall']:>10.2%}"
            f"{row['f1-score']:>10.2%}{row['support']:>10.0f}"
        )
    if results["confused"]:
        lines += ["", f"  {'most confused':<34}{'images':>8}{'of the class':>14}"]
    for pair in results["confused"]:
        mistake = f"{pair['true']} taken for {pair['predicted']}"
        lines.append(f"  {mistake:<34}{pair['images']:>8}{pair['share']:>14.2%}")
    return "\n".join(lines)
