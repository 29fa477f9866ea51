"""How fast training batches are prepared, by way of keeping images and number of processes, and how fast they must be.

    python benchmarks/data_loading.py --data shared/data/cifar10
    python benchmarks/data_loading.py --data shared/data/cifar10 --workers 0 4 8 15 --size 160 --photos 2000

Two data sets: CIFAR-10 decoded in memory (flip and shift), and photos of 500x375 pixels, made up and written as JPEG,
at `--size` pixels (flip and random resized crops), decoded on demand, from the file of decoded images, and from memory.
For each, training steps of a supernet run with the loader, which tells the rate to feed and the share of the time spent
waiting for data. Variants take turns; figures are medians. The last line of standard output is one JSON object.
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
from PIL import Image

from factory_base.errors import FactoryError

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
AUGMENT = {"cifar10": {"flip": True, "shift": 4}, "photos": {"flip": True, "shift": 0, "crop_area": 0.25}}


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
                **surroundings(options),
            }
    except FactoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_markdown(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.parquet and test.parquet of CIFAR-10"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="numbers of processes")
    parser.add_argument("--photos", type=int, default=256, help="how many photos to make up")
    parser.add_argument("--size", type=int, default=224, help="of the photos when decoded, in pixels")
    parser.add_argument("--batches", type=int, default=12, help="per measurement of the loader alone")
    parser.add_argument("--steps", type=int, default=6, help="per measurement of training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the training process")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def open_sets(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The training examples of each way, by name. Raises `FactoryError`."""
    from supernet.data.config import DataConfig
    from supernet.data.image_cache import ImageCache

    tell("opening the data")
    write_photos(folder / "photos", options.photos, options.seed)
    files = {name: str((options.data / f"{name}.parquet").resolve()) for name in ("train", "test")}
    cifar = DataConfig(source="parquet", path=files["train"], test_path=files["test"], limit=5000)
    sets = {"cifar10 memory": examples(cifar, "cifar10", None, options)}
    shelf = ImageCache(folder=folder / "images", key="0" * 64)
    for cache in ("memory", "disk", "none"):
        photos = DataConfig(source="folder", path=str(folder / "photos"), image_size=options.size, cache=cache)
        sets[f"photos {cache}"] = examples(photos, "photos", shelf, options)
    return sets


def examples(config: Any, name: str, shelf: Any, options: argparse.Namespace) -> Any:
    """Augmented training examples of a data set."""
    from supernet.data.augmentation_config import AugmentConfig
    from supernet.data.image_examples import ImageExamples, Normalisation
    from supernet.data.sources import load_splits

    splits = load_splits(config, Path(), options.seed, image_cache=shelf)
    normalisation = Normalisation(mean=splits.mean, std=splits.std)
    return ImageExamples.of(splits.train, normalisation, AugmentConfig(**AUGMENT[name]))


def write_photos(folder: Path, count: int, seed: int) -> None:
    """Soft shapes with grain: about 80 kB each at quality 90, as photos of this size have."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        soft = Image.fromarray(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        grain = np.asarray(soft).astype(np.int64) + rng.integers(-12, 13, (375, 500, 3))
        path = folder / f"class{index % 4}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def loading_rates(sets: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Images per second of the loader alone, by way and number of processes."""
    times: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        for name, data in sets.items():
            for workers in options.workers:
                tell(f"loading, repeat {repeat + 1}: {name}, {workers} processes")
                times.setdefault(f"{name}, {workers} processes", []).append(
                    load(data, workers, batch_size(name), options)
                )
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


def load(data: Any, workers: int, size: int, options: argparse.Namespace) -> float:
    """Images per second, from the first batch on: starting processes is paid once a run."""
    import torch

    from supernet.data.examples import Draws
    from supernet.data.loading import BatchLoader

    def rows(step: int) -> torch.Tensor:
        return torch.randint(len(data), (size,), generator=torch.Generator().manual_seed(step))

    steps = options.batches + 1 + 2 * workers  # those ahead of the first are prepared while it is
    with BatchLoader(data, rows, lambda _: Draws(0, 0), first_step=0, steps=steps, workers=workers) as loader:
        started, done = 0.0, 0
        for step, batch, _ in loader:
            if step == 0:
                started = time.perf_counter()
            else:
                done += len(batch)
        return done / (time.perf_counter() - started)


def training_rates(sets: dict[str, Any], options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Images per second that training takes, and its share of waiting for data, by way and number of processes."""
    rates: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        for name in ("cifar10 memory", "photos none"):
            for workers in options.workers:
                tell(f"training, repeat {repeat + 1}: {name}, {workers} processes")
                key = f"{name}, {workers} processes"
                rate, share = train(name, sets[name], workers, options, folder / "state.safetensors")
                rates.setdefault(key, []).append(rate)
                shares.setdefault(key, []).append(share)
    return {
        "training_images_per_second": {key: round(statistics.median(values), 1) for key, values in rates.items()},
        "loader_share": {key: round(statistics.median(values), 4) for key, values in shares.items()},
    }


def train(name: str, data: Any, workers: int, options: argparse.Namespace, state: Path) -> tuple[float, float]:
    """Images per second of a few sandwich steps, and the share of the time that they waited."""
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
        epochs=options.steps / (len(data) // size), batch_size=size, largest_only=0, learning_rate=0.01, save_every=1e6
    )
    ends: list[float] = []  # of steps; the first prepares networks
    outcome = train_supernet(
        Supernet(space, options.seed), data, config, seed=options.seed, state_file=state, key="", check=lambda _: 0.9,
        loader_workers=workers, progress=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    state.unlink()
    state.with_name(f"{state.stem}.good{state.suffix}").unlink(missing_ok=True)
    return (len(ends) - 1) * size / (ends[-1] - ends[0]), outcome.loader_share


def batch_size(name: str) -> int:
    """As one would train."""
    return 128 if name.startswith("cifar10") else 32


def surroundings(options: argparse.Namespace) -> dict[str, Any]:
    """Machine, versions and settings."""
    import torch

    settings = {name: getattr(options, name) for name in ("threads", "seed", "size", "photos", "batches", "repeats")}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {**settings, **machine, "torch": torch.__version__, "date": date.today().isoformat()}


def tell(what: str) -> None:
    """Progress for people."""
    print(what, file=sys.stderr)


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
