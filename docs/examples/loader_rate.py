"""How many photographs one process reads in a second: decoded, brought to 224 pixels, as a batch.

    python docs/examples/loader_rate.py

Writes 64 JPEG files of ImageNet's average size, 500 x 375 pixels, to a temporary folder, and reads
them as train.py reads an image folder, median of seven passes.
"""

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from training.data import datasets
from training.data.batches import training_batches
from training.recipes import recipe

IMAGES, PASSES = 66, 7  # two of the images are for validation, which must have some


def photograph(generator: np.random.Generator) -> Image.Image:
    """Noise, smooth enough to take about 110 kB as a JPEG."""
    small = generator.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)


def main() -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        for i in range(IMAGES):
            part = "val" if i < 2 else "train"
            path = Path(folder, part, "ab"[i % 2], f"{i}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph(generator).save(path, quality=90)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*.jpg")) / IMAGES
        options = replace(
            recipe("resnet50", "imagefolder"), data_root=Path(folder), batch_size=16, workers=0
        )
        (train,), _ = datasets.load(options, "train")
        rates = []
        for epoch in range(1, PASSES + 1):
            start = time.perf_counter()
            seen = sum(len(which) for *_, which in training_batches(train, options, epoch))
            rates.append(seen / (time.perf_counter() - start))
    print(f"{size / 1e3:.0f} kB a file, {statistics.median(rates):.0f} images a second")


if __name__ == "__main__":
    main()
