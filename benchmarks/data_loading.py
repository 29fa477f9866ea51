"""Are training batches prepared faster than training consumes them?

    python benchmarks/data_loading.py --data PATH/cifar10
    python benchmarks/data_loading.py --data PATH/cifar10 --workers 0 4 8 15 --size 160 --photos 2000

There are two data sets: CIFAR-10, decoded in memory (flips and shifts), and synthetic photos of 500x375 pixels that
are written as JPEG and used at `--size` pixels (flips and random resized crops). Photos are decoded on demand, read
from the file of decoded images, or kept in memory. The loader is timed alone, with different numbers of processes.
Training steps of a supernet then run with the loader, for each data set, which gives the rate that training needs and
the share of time that it waits for data. Variants take turns; results are medians.

`--quick` takes 0 and 1 processes, 64 photos instead of 256, 2 batches and 2 steps instead of 12 and 6 per measurement,
and measures once instead of three times.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from common import log, make_parser, parse_options
from PIL import Image

from factory_base.errors import FactoryError
from factory_base.processors import usable_cores

STAGE = {"kernels": [3, 5], "expands": [3, 6]}
SPACES = {
    "cifar10": {
        "resolutions": [24, 28, 32],
        "stem_width": 16,
        "stages": [
            {**STAGE, "widths": [16, 24], "depths": [1, 2]},
            {**STAGE, "widths": [32, 48], "depths": [1, 2, 3], "stride": 2},
            {**STAGE, "widths": [64, 96], "depths": [1, 2, 3], "stride": 2},
        ],
        "head_width": 256,
    },
    "photos": {
        "stem_width": 16,
        "stem_stride": 2,
        "stages": [
            {**STAGE, "widths": [16, 24], "depths": [1, 2], "stride": 2},
            {**STAGE, "widths": [32, 40], "depths": [1, 2, 3], "stride": 2},
            {**STAGE, "widths": [64, 96], "depths": [1, 2, 3], "stride": 2},
            {**STAGE, "widths": [96, 160], "depths": [1, 2, 3], "stride": 2},
        ],
        "head_width": 640,
    },
}
"""About the sizes that one would train on such images, with few options, so that few structures have to be built."""

AUGMENT = {"cifar10": {"flip": True, "shift": 4}, "photos": {"flip": True, "shift": 0, "crop_area": 0.25}}
"""The usual augmentation of either kind of images."""

BATCH_SIZES = {"cifar10": 128, "photos": 32}
FEWEST_PHOTOS = 64
"""A quarter of the photos is held out or for tests, and training needs at least one whole batch."""

CIFAR_IMAGES = 5000
"""Enough for all batches of a measurement; more would only take longer to decode beforehand."""

PHOTO_SIZE = (500, 375)
JPEG_QUALITY = 90
"""As many photos of ImageNet have."""

COARSE_SIZE, GRAIN = (64, 48), 12
"""Pixels of the colours that photos are interpolated from, and the noise added to each pixel (of 255): together about
80 kB a photo, as photos of this size and quality have."""

LEARNING_RATE = 0.01
"""Small, so that a few steps cannot diverge; the time of a step does not depend on it."""

CHECKED_ACCURACY = 0.9
"""What every check returns: far above chance, so that no step is rolled back, and at no cost."""

NEVER = 1e6
"""Seconds between saved training states: longer than a measurement, so that no saving is timed."""

QUICK = {"workers": [0, 1], "photos": 64, "batches": 2, "steps": 2, "repeats": 1}


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the `factory` command does, before torch is imported
    import torch

    from supernet.planning.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(options.threads)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            sets = open_sets(options, Path(temporary))
            result = {
                "benchmark": "data_loading",
                "images_per_second": loading_rates(sets, options),
                **training_rates(sets, options, Path(temporary)),
                "quick": options.quick,
                **environment(options),
            }
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.parquet and test.parquet of CIFAR-10"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="numbers of processes to compare")
    parser.add_argument("--photos", type=int, default=256, help="number of synthetic photos")
    parser.add_argument("--size", type=int, default=224, help="height and width of decoded photos, in pixels")
    parser.add_argument("--batches", type=int, default=12, help="batches per measurement of the loader alone")
    parser.add_argument("--steps", type=int, default=6, help="steps per measurement of training")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each variant")
    parser.add_argument("--threads", type=int, default=1, help="threads of the training process")
    parser.add_argument("--seed", type=int, default=0)
    options = parse_options(parser, arguments, QUICK)
    if options.photos < FEWEST_PHOTOS or options.steps < 2:
        parser.error(
            f"--photos must be at least {FEWEST_PHOTOS}, for a whole batch of training images, --steps at least 2"
        )
    return options


def open_sets(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The training examples of each variant, by name. Raises `FactoryError`."""
    from supernet.data.config import DataConfig
    from supernet.data.image_cache import ImageCache

    log("opening the data")
    write_photos(folder / "photos", options.photos, options.seed)
    files = {name: str((options.data / f"{name}.parquet").resolve()) for name in ("train", "test")}
    cifar = DataConfig(source="parquet", path=files["train"], test_path=files["test"], limit=CIFAR_IMAGES)
    sets = {"cifar10 memory": examples(cifar, "cifar10", None, options)}
    image_cache = ImageCache(folder=folder / "images", key="0" * 64)
    for cache in ("memory", "disk", "none"):
        photos = DataConfig(source="folder", path=str(folder / "photos"), image_size=options.size, cache=cache)
        sets[f"photos {cache}"] = examples(photos, "photos", image_cache, options)
    return sets


def examples(config: Any, name: str, image_cache: Any, options: argparse.Namespace) -> Any:
    """Augmented training examples of a data set."""
    from supernet.data.augmentation_config import AugmentConfig
    from supernet.data.image_examples import ImageExamples, Normalisation
    from supernet.data.sources import load_splits

    splits = load_splits(config, Path(), options.seed, image_cache=image_cache)
    normalisation = Normalisation(mean=splits.mean, std=splits.std)
    return ImageExamples.of(splits.train, normalisation, AugmentConfig(**AUGMENT[name]))


def write_photos(folder: Path, count: int, seed: int) -> None:
    """Write soft shapes with grain as JPEG files of four classes."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (*COARSE_SIZE[::-1], 3)).astype(np.uint8))
        soft = coarse.resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        grain = np.asarray(soft).astype(np.int64) + rng.integers(-GRAIN, GRAIN + 1, (*PHOTO_SIZE[::-1], 3))
        path = folder / f"class{index % 4}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=JPEG_QUALITY)


def loading_rates(sets: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Images per second of the loader alone, by variant and number of processes."""
    times: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        for name, data in sets.items():
            for workers in options.workers:
                log(f"loading, repeat {repeat + 1}: {name}, {workers} processes")
                times.setdefault(f"{name}, {workers} processes", []).append(
                    load(data, workers, batch_size(name), options)
                )
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


def load(data: Any, workers: int, size: int, options: argparse.Namespace) -> float:
    """Images per second after the first batch, since processes are started only once per training run."""
    import torch

    from supernet.data.examples import Draws
    from supernet.data.loading import BatchLoader

    def rows(step: int) -> torch.Tensor:
        return torch.randint(len(data), (size,), generator=torch.Generator().manual_seed(step))

    steps = options.batches + 1 + 2 * workers  # these are prepared together with the first one
    with BatchLoader(data, rows, lambda _: Draws(0, 0), first_step=0, steps=steps, workers=workers) as loader:
        started, done = 0.0, 0
        for step, batch, _ in loader:
            if step == 0:
                started = time.perf_counter()
            else:
                done += len(batch)
        return done / (time.perf_counter() - started)


def training_rates(sets: dict[str, Any], options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Images per second of training, and the share of time that it waits, by variant and number of processes."""
    rates: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        for name in ("cifar10 memory", "photos none"):
            for workers in options.workers:
                log(f"training, repeat {repeat + 1}: {name}, {workers} processes")
                key = f"{name}, {workers} processes"
                rate, share = train(name, sets[name], workers, options, folder / "state.safetensors")
                rates.setdefault(key, []).append(rate)
                shares.setdefault(key, []).append(share)
    return {
        "training_images_per_second": {key: round(statistics.median(values), 1) for key, values in rates.items()},
        "loader_share": {key: round(statistics.median(values), 4) for key, values in shares.items()},
    }


def train(name: str, data: Any, workers: int, options: argparse.Namespace, state: Path) -> tuple[float, float]:
    """Images per second of a few sandwich steps, and the share of the time that they waited for data."""
    from supernet.sharing.supernet import Supernet
    from supernet.spaces.mobilenet import MobileNetSpace
    from supernet.spaces.mobilenet_config import MobileNetConfig
    from supernet.training.config import TrainingConfig
    from supernet.training.training import train as train_supernet

    kind = name.split()[0]
    section = (
        SPACES[kind] if kind == "cifar10" else SPACES[kind] | {"resolutions": [options.size * 3 // 4, options.size]}
    )
    space = MobileNetSpace(MobileNetConfig.model_validate(section), classes=10)
    size = batch_size(name)
    config = TrainingConfig(
        epochs=options.steps / (len(data) // size),
        batch_size=size,
        largest_only=0,
        learning_rate=LEARNING_RATE,
        save_every=NEVER,
    )
    ends: list[float] = []  # when steps ended; the first one also builds networks, so it does not count
    outcome = train_supernet(
        Supernet(space, options.seed),
        data,
        config,
        seed=options.seed,
        state_file=state,
        key="",
        check=lambda _: CHECKED_ACCURACY,
        loader_workers=workers,
        progress=lambda *_: ends.append(time.perf_counter()),
    )
    state.unlink()
    state.with_name(f"{state.stem}.good{state.suffix}").unlink(missing_ok=True)
    return (len(ends) - 1) * size / (ends[-1] - ends[0]), outcome.loader_share


def batch_size(name: str) -> int:
    """Batch size of a variant, as one would train."""
    return BATCH_SIZES[name.split()[0]]


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """Machine, versions and settings."""
    import torch

    settings = {name: getattr(options, name) for name in ("threads", "seed", "size", "photos", "batches", "repeats")}
    machine = {"machine": platform.machine(), "cores": usable_cores(), "python": platform.python_version()}
    return {**settings, **machine, "torch": torch.__version__, "date": date.today().isoformat()}


def print_markdown(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| images, processes | loader alone, images/s | training with it, images/s | waited |")
    print("|---|--:|--:|--:|")
    for name, rate in result["images_per_second"].items():
        trained = result["training_images_per_second"].get(name)
        share = result["loader_share"].get(name)
        cells = ("", "") if trained is None else (f"{trained:.0f}", f"{share:.1%}")
        print(f"| {name} | {rate:.0f} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
