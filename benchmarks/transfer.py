"""What is a pretrained start worth on small data, and is each tier as good as if it had been fine-tuned alone?

    python benchmarks/transfer.py --data PATH/cifar10 --work /tmp/transfer

CIFAR-10, thinned to 500 training images a class, at 96 pixels; three tiers, about a factor of 3 apart in MACs. From the
pretrained EfficientNet-Lite0, one supernet is trained with the defaults of a pretrained start, and each tier a little
further on its own, as a build with a `finetune` section does. It is compared with

* the same space, epochs and fine-tuning from scratch, with the default recipe for that: `over_scratch`;
* each tier trained alone from the same pretrained weights, sorted in the same way, with a head fitted to its own
  features, for as many steps as the supernet and the fine-tuning take together: `mean_gap` and `worst_gap`.

All are judged on the same 200 test images a class, in pairs. The tiers are named by a rule that looks at sizes only. A
further 100 images a class of the training file are held out: they decide whether the weights of a tier before or after
its fine-tuning count, and nothing is trained on them. Training runs are saved every few seconds, and finished ones are
kept in `--work`, so the benchmark resumes where it was interrupted. `--only family` and so on do one part; `--only
start` only makes the pretrained start and judges it on the held-out images, so that changes of it can be compared
(`--recipe '{"keep_statistics": false}'`).

`--quick` does the same with 16 training images a class at 32 pixels and a step or two. Its accuracies are near chance:
it shows that every part works, and prints that it is not a result. Without `--work` it keeps nothing.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log, make_parser, parse_options
from numpy.typing import NDArray
from quality_metrics import family_predictions, gap_matrix, interval, predictions_of, resampled
from quality_networks import CLASSES, macs, unevenness

from factory_base.files import digest_of, write_bytes, write_text

COMMON: dict[str, Any] = {"augment": {"flip": True, "shift": 8}}
"""A twelfth of the size, as 4 of 32 pixels would be without enlarging."""
SCRATCH: dict[str, Any] = {"batch_size": 64}
"""As many steps as the pretrained family; all else is the default of training from scratch."""
QUICK: dict[str, Any] = {
    "epochs": 0.5,
    "train": 16,
    "heldout": 4,
    "test": 4,
    "size": 32,
    "resolutions": [32],
    "pool": 30,
    "recipe": {"batch_size": 32, "sampler": "uniform"},
}
START = "start"
PARTS = ("family", "scratch", "alone-0", "alone-1", "alone-2")
TIER_TOLERANCE = 0.05
"""Relative difference in MACs from the middle tier's nominal size."""
CALIBRATION, CHECK_IMAGES = 1000, 300
"""Training images for recalibration; and how many of them, and of the held-out ones, the checks in training use, which
steer nothing."""
LOG_SECONDS = 20
"""Between lines of progress."""


def main(arguments: list[str]) -> int:
    """Run the benchmark, or the parts of it that are asked for."""
    options = parse(arguments)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        options.work.mkdir(parents=True, exist_ok=True)
        prepare_data(options)
        for part in options.only or PARTS:
            run_part(part, options)
        if not options.only:
            report({part: result_of(part, options) for part in PARTS}, options)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, help="where training runs are kept; --quick works without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="one is faster beside other work")
    parser.add_argument("--epochs", type=float, help="by default as many as a pretrained start has by default")
    parser.add_argument("--finetune", type=float, default=1.0, help="epochs of fine-tuning of each tier")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--recipe", type=json.loads, default={}, help="changes to the recipe of the family, as JSON")
    parser.add_argument("--only", nargs="+", choices=(START, *PARTS), help="parts to run, for a later run to report")
    parser.add_argument("--train", type=int, default=500, help="training images a class")
    parser.add_argument("--heldout", type=int, default=100, help="held-out images a class")
    parser.add_argument("--test", type=int, default=200, help="test images a class")
    parser.add_argument("--size", type=int, default=96, help="pixels of the images")
    parser.add_argument("--pool", type=int, default=400, help="subnets to name the middle tier among")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 80, 96])
    options = parse_options(parser, arguments, QUICK)
    if options.work is None and not options.quick:
        parser.error("name a folder with --work: the full form takes most of an hour, and resumes from there")
    return options


def data_file(options: argparse.Namespace) -> Path:
    """The file of decoded images."""
    extent = (options.train, options.heldout, options.test, options.size)
    return Path(options.work) / f"data-{'-'.join(map(str, extent))}.npz"


def prepare_data(options: argparse.Namespace) -> None:
    """Thin, decode and enlarge the images once. This does not count as a cost of anything."""
    path = data_file(options)
    if path.is_file():
        return
    counts = {"train": {"train": options.train, "heldout": options.heldout}, "test": {"test": options.test}}
    arrays = {}
    for source, parts in counts.items():
        arrays |= thinned(options.data / f"{source}.parquet", parts, options.size)
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def thinned(file: Path, parts: Mapping[str, int], size: int) -> dict[str, NDArray[Any]]:
    """`<part>_images`, uint8 (n, 3, size, size), and `<part>_labels`: the first images of each class, in turn."""
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(file)
    labels = np.asarray(table["label"], dtype=np.int64)
    content, found, first = table["image"].to_pylist(), {}, 0
    for part, count in parts.items():
        rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[first : first + count] for c in range(CLASSES)]))
        first += count
        images = [Image.open(io.BytesIO(content[row]["bytes"])).convert("RGB") for row in rows]
        resized = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in images]
        found[f"{part}_images"] = np.ascontiguousarray(np.stack(resized).transpose(0, 3, 1, 2))
        found[f"{part}_labels"] = labels[rows]
    return found


def result_file(part: str, options: argparse.Namespace) -> Path:
    """The file of the result of a part, named by everything that shapes it."""
    shaping = {k: v for k, v in vars(options).items() if k not in ("work", "data", "only")}
    return Path(options.work) / f"{part}-{digest_of({**shaping, 'part': part})[:12]}.json"


def result_of(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """The result of a finished part."""
    path = result_file(part, options)
    return {**json.loads(path.read_text()), "file": str(path)}


def run_part(part: str, options: argparse.Namespace) -> None:
    """Train, judge, and write the result to its file, unless it is there."""
    path = result_file(part, options)
    if path.is_file():
        log(f"{part}: found {path}")
        return
    from factory_base.errors import FactoryError

    try:
        result, predictions = Part(part, options).run()
    except FactoryError as error:
        raise SystemExit(f"error: {error}") from error
    write_bytes(path.with_suffix(".npy"), predictions.astype(np.int8).tobytes())
    write_text(path, json.dumps({**result, "subnets": len(predictions)}))


class Part:
    """One part of the benchmark: its data, its supernet, and the time that it takes."""

    def __init__(self, part: str, options: argparse.Namespace) -> None:
        import torch

        from supernet.planning.memory import keep_freed_memory
        from supernet.spaces import make_model_space
        from supernet.spaces.published_config import EfficientNetLite0Config

        torch.set_num_threads(options.threads)
        keep_freed_memory()
        self.part, self.options, self.seed = part, options, options.seed
        self.pretrained = part != "scratch"
        section = {"resolutions": options.resolutions} | ({"from": "pretrained"} if self.pretrained else {})
        self.model = EfficientNetLite0Config.model_validate(section)
        self.space = make_model_space(self.model, CLASSES)
        self.tiers = named_tiers(self.space, options.pool)
        self.stored = np.load(data_file(options))
        self.config = recipe(options, pretrained=self.pretrained)
        self.seconds: dict[str, float] = {}
        self.started, self.spent = time.monotonic(), 0.0

    def run(self) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """The result, and the predictions (networks, images): of a family, with shared weights, then fine-tuned."""
        supernet, own = self._start(), []
        if self.part.startswith("alone"):
            return self._alone(supernet, self.tiers[int(self.part[-1])])
        if self.part != START:
            self._train(supernet, self.config, "supernet")
            indices = range(len(self.tiers)) if self.options.finetune else []
            own = [self._finetuned(supernet, self.tiers[i], i) for i in indices]
        networks = [*((tier, supernet) for tier in self.tiers), *zip(self.tiers, own, strict=False)]
        heldout = [self._accuracy(tier, one) for tier, one in networks]
        result = {"heldout": heldout[: len(self.tiers)], "heldout_finetuned": heldout[len(self.tiers) :]}
        return self._result(result, networks)

    def _alone(self, supernet: Any, tier: Any) -> tuple[dict[str, Any], NDArray[np.int64]]:
        from supernet.sharing.head import head_name
        from supernet.tasks import Classification
        from supernet.training.finetune import separated
        from supernet.weights.probe import fit_head

        alone = separated(supernet, tier)
        if tier != self.space.space.largest and (head := head_name(alone)) is not None:
            probe = fit_head(alone, head, self._examples("train"), Classification(names=()), seed=self.seed)
            self._log(f"{head}: {probe}")
        changes = {"epochs": self.config.epochs + self.options.finetune, "largest_only": 1.0, "sampler": "uniform"}
        self._train(alone, self.config.model_copy(update=changes), "network")
        return self._result({"heldout": self._accuracy(tier, alone)}, [(tier, alone)])

    def _start(self) -> Any:
        """The supernet before its first step. The pretrained one is made once for all parts, and kept."""
        from supernet.sharing.supernet import Supernet
        from supernet.training.checkpoint import load_supernet, save_supernet
        from supernet.weights.pretrained import start_from

        if not self.pretrained:
            return Supernet(self.space, self.seed)
        options, begun = self.options, time.monotonic()
        shaping = [options.seed, options.train, options.size, options.resolutions, options.recipe]
        file = Path(options.work) / f"start-{digest_of({'start': shaping})[:12]}.safetensors"
        if not file.is_file():
            supernet = Supernet(self.space, self.seed)
            examples = self._examples("train")
            start_from(supernet, self.model, self.config, Path(), examples, seed=self.seed, notify=self._log)
            save_supernet(file, supernet)
        self.seconds["start"] = time.monotonic() - begun
        return load_supernet(file, self.space)

    def _finetuned(self, supernet: Any, tier: Any, index: int) -> Any:
        from supernet.training.finetune import separated
        from supernet.training.finetune_config import FinetuneConfig

        alone = separated(supernet, tier)
        finetune = FinetuneConfig(epochs=self.options.finetune).recipe(self.config)
        self._train(alone, finetune, f"finetune-{index}")
        return alone

    def _train(self, supernet: Any, config: Any, name: str) -> None:
        from supernet.training.training import train

        said = 0.0

        def progress(done: int, total: int, detail: str = "") -> None:
            nonlocal said
            if time.monotonic() - said > LOG_SECONDS or done == total:
                said = time.monotonic()
                self._log(f"{name}: step {done} of {total}, {detail}")

        file = result_file(self.part, self.options)
        outcome = train(
            supernet,
            self._examples("train", config.augment),
            config,
            seed=self.seed,
            state_file=file.with_name(f"{file.stem}-{name}.safetensors"),
            key=digest_of({"file": file.name, "name": name, "config": config.model_dump(mode="json")}),
            check=lambda subnet: self._accuracy(subnet, supernet, CHECK_IMAGES),
            check_images=min(CHECK_IMAGES, CLASSES * self.options.heldout),
            progress=progress,
            notify=self._log,
        )
        self.seconds[name] = outcome.seconds

    def _result(
        self, result: dict[str, Any], networks: Sequence[tuple[Any, Any]]
    ) -> tuple[dict[str, Any], NDArray[np.int64]]:
        predictions = np.stack([self._predict(tier, supernet, "test") for tier, supernet in networks])
        labels = self.stored["test_labels"]
        accuracy = [float(np.mean(p == labels)) for p in predictions]
        self._log(f"held-out: {result['heldout']}, fine-tuned: {result.get('heldout_finetuned', [])}")
        sizes = [macs(self.space, tier) for tier, _ in networks]
        return {**result, "accuracy": accuracy, "macs": sizes, "seconds": self.seconds}, predictions

    def _examples(self, name: str, augmentation: Any = None) -> Any:
        import torch

        from supernet.data.image_examples import ImageExamples, Normalisation

        images, labels = self.stored[f"{name}_images"], self.stored[f"{name}_labels"]
        return ImageExamples(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            normalisation=Normalisation(**self._statistics()),
            augmentation=augmentation,
        )

    def _statistics(self) -> dict[str, Any]:
        if (fixed := self.model.statistics) is not None:
            return {"mean": fixed.mean, "std": fixed.std}
        images = self.stored["train_images"] / 255
        return {"mean": tuple(images.mean((0, 2, 3)).tolist()), "std": tuple(images.std((0, 2, 3)).tolist())}

    def _accuracy(self, subnet: Any, supernet: Any, images: int | None = None) -> float:
        found = self._predict(subnet, supernet, "heldout", images)
        return float(np.mean(found == self.stored["heldout_labels"][:images]))

    def _predict(self, subnet: Any, supernet: Any, name: str, images: int | None = None) -> NDArray[np.int64]:
        import torch

        from supernet.data.examples import ExampleInputs
        from supernet.evaluation.calibration import seeded_rows
        from supernet.evaluation.evaluation import predict, recalibrate

        train, judged, shape = self._examples("train"), self._examples(name), self.space.input_shape(subnet)
        rows = seeded_rows(len(train), CALIBRATION if images is None else CHECK_IMAGES, self.seed)
        network = recalibrate(supernet.extract(subnet), ExampleInputs(train, shape, rows))
        return predict(network, ExampleInputs(judged, shape, torch.arange(len(judged))[:images]))

    def _log(self, line: str) -> None:
        log(f"{self.part}, {time.monotonic() - self.started:.0f} s: {line}")


def recipe(options: argparse.Namespace, *, pretrained: bool) -> Any:
    """The `training` section of the supernet."""
    from supernet.planning.pretrained_start import CONVOLUTIONAL_RECIPE
    from supernet.training.config import TrainingConfig

    start = {**CONVOLUTIONAL_RECIPE, **options.recipe} if pretrained else SCRATCH
    epochs = CONVOLUTIONAL_RECIPE["epochs"] if options.epochs is None else options.epochs
    return TrainingConfig.model_validate({**COMMON, **start, "epochs": epochs, "precision": options.precision})


def named_tiers(space: Any, pool_size: int) -> list[Any]:
    """The largest network, one in the middle of the sizes on a logarithmic scale, and the smallest.

    The one in the middle is, among subnets of about that size, the one whose choices are closest to a common level.
    """
    import random

    rng, choices = random.Random(0), space.space
    largest, smallest = choices.largest, choices.smallest
    middle = math.sqrt(macs(space, largest) * macs(space, smallest))
    pool = sorted({choices.sample_near(i / (pool_size - 1), rng, 0.5) for i in range(pool_size)})
    distance = {subnet: abs(macs(space, subnet) / middle - 1) for subnet in pool}
    near = [subnet for subnet in pool if distance[subnet] < TIER_TOLERANCE] or [min(pool, key=distance.__getitem__)]
    return [largest, min(near, key=lambda subnet: (unevenness(choices, subnet), subnet)), smallest]


def report(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the table and the JSON object."""
    labels = np.load(data_file(options))["test_labels"]
    family, scratch = results["family"], results["scratch"]
    alone = [results[part] for part in PARTS if part.startswith("alone")]
    compared = {"tiers": len(alone), "family": family, "alone": alone}
    predictions, from_scratch = family_predictions(compared), family_predictions({**compared, "family": scratch})
    gaps = gap_matrix(compared, predictions, labels)
    gains = (predictions == labels).astype(float) - (from_scratch == labels)
    means, gain_means = resampled(gaps), resampled(gains)
    tiers = [float(np.mean(p == labels)) for p in predictions]
    result = {
        "benchmark": "transfer",
        "quick": options.quick,
        "over_scratch": round(float(gains.mean()), 4),
        "over_scratch_interval": interval(gain_means.mean(1)),
        "mean_gap": round(float(gaps.mean()), 4),
        "mean_gap_interval": interval(means.mean(1)),
        "worst_gap": round(float(gaps.mean(1).min()), 4),
        "worst_gap_interval": interval(means.min(1)),
        "macs": family["macs"][: len(alone)],
        "accuracy": [round(value, 4) for value in tiers],
        "accuracy_shared_weights": [
            round(float(np.mean(p == labels)), 4) for p in predictions_of(family)[: len(alone)]
        ],
        "accuracy_alone": [round(one["accuracy"][0], 4) for one in alone],
        "accuracy_scratch": [round(float(np.mean(p == labels)), 4) for p in from_scratch],
        "minutes": {part: round(sum(one["seconds"].values()) / 60, 1) for part, one in results.items()},
        "recipe": recipe(options, pretrained=True).model_dump(mode="json", exclude={"augment"}),
        "finetune_epochs": options.finetune,
        **environment(options.seed),
    }
    print_markdown(result, gaps.mean(1))
    if options.quick:
        print("\nNot a result: in the quick form networks are hardly trained.\n")
    print(json.dumps(result))


def print_markdown(result: dict[str, Any], gaps: NDArray[np.float64]) -> None:
    """Print a table of the tiers and the headline figures."""
    print("| MMACs | family | shared weights | alone | gap | from scratch |")
    print("|--:|--:|--:|--:|--:|--:|")
    keys = ("accuracy", "accuracy_shared_weights", "accuracy_alone")
    for i, size in enumerate(result["macs"]):
        cells = " | ".join(f"{result[key][i]:.2%}" for key in keys)
        print(f"| {size / 1e6:.1f} | {cells} | {gaps[i]:+.2%} | {result['accuracy_scratch'][i]:.2%} |")
    print()
    for name in ("over_scratch", "mean_gap", "worst_gap"):
        low, high = result[f"{name}_interval"]
        print(f"{name}: {result[name]:+.2%} ({low:+.2%} to {high:+.2%})")
    print("minutes: " + ", ".join(f"{part} {value:.1f}" for part, value in result["minutes"].items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
