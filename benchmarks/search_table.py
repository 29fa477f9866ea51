"""The table that `search_regret` searches: every subnet of a space, scored on held-out images and on test images.

The space is a small MobileNet of 1,296 subnets with 0.47 to 6.4 million MACs. Its supernet is trained on CIFAR-10 by
the product's own functions, without the 2,000 images that the product holds out of the training file. Then every subnet
is recalibrated once and labels the held-out images and the 10,000 images of the test file. The accuracy on the latter
is the truth, which no search sees. Not a benchmark itself.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from common import environment, log
from numpy.typing import NDArray

from factory_base.files import digest_of
from search.scored import Scored
from search.variant import Variant
from supernet.space import SubnetConfig

TABLE = Path(__file__).with_name("search_regret.npz")

MODEL: dict[str, Any] = {
    "space": "mobilenet",
    "resolutions": [16, 24, 32],
    "stem_width": 16,
    "stem_stride": 2,
    "stages": [
        {"widths": [16], "depths": [1], "kernels": [3], "expands": [1], "stride": 1},
        {"widths": [16, 24], "depths": [1, 2], "kernels": [3], "expands": [2, 4], "stride": 1},
        {"widths": [32, 48], "depths": [1, 2], "kernels": [3, 5], "expands": [3], "stride": 2},
        {"widths": [64], "depths": [1], "kernels": [3], "expands": [2, 3, 4], "stride": 1},
    ],
    "head_width": 128,
}
"""All kinds of choices, and so few and so small subnets that scoring all of them takes a quarter of an hour."""

CLASSES = 10
HELDOUT, TRAINING_FILE = 2000, 50_000
CALIBRATION_IMAGES = 1000

TRAINING: dict[str, Any] = {
    "epochs": 8,
    "batch_size": 128,
    "learning_rate": 0.3,
    "precision": "bfloat16",
    "largest_only": 0.4,
    "sampler": "macs",
    "subnet_weight": 0.4,
    "augment": {"flip": True, "shift": 4},
}
"""The recipe of `quality_cifar10`."""

LOG_SECONDS = 20


@dataclass(frozen=True)
class Table:
    """The table.

    Attributes:
        space: The model space.
        subnets: The scored subnets.
        correct: Which held-out images each of them labels correctly, (subnets, images).
        truth: Their accuracy on the test images, (subnets,).
        about: How the table was made: command, date, machine, seed, versions, numbers of images.
    """

    space: Any
    subnets: tuple[SubnetConfig, ...]
    correct: NDArray[np.bool_]
    truth: NDArray[np.float64]
    about: dict[str, Any]

    @staticmethod
    def load(path: Path) -> Table:
        """Read a table."""
        space = model_space()
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            shape = (about["heldout_images"], len(stored["vectors"]))
            correct = np.unpackbits(stored["correct"], axis=1)[:, : shape[1]].T.astype(bool)
            subnets = tuple(space.space.decode(tuple(int(i) for i in vector)) for vector in stored["vectors"])
            return Table(space, subnets, correct, stored["truth"] / about["test_images"], about)

    @cached_property
    def rows(self) -> dict[SubnetConfig, int]:
        """Where each subnet is."""
        return {subnet: row for row, subnet in enumerate(self.subnets)}

    @cached_property
    def scores(self) -> tuple[Scored, ...]:
        """The subnets as scored on all held-out images."""
        return tuple(Scored.of(s, bits.tolist()) for s, bits in zip(self.subnets, self.correct, strict=True))

    def score(self, variants: Sequence[Variant], images: int, _: str) -> list[Scored]:
        """What the search is given in place of running networks, in fp32."""
        return [self.scores[self.rows[variant.subnet]].first(images) for variant in variants]


def model_space() -> Any:
    """The model space of the table."""
    from supernet import make_model_space
    from supernet.spaces.mobilenet_config import MobileNetConfig

    return make_model_space(MobileNetConfig.model_validate(MODEL), classes=CLASSES)


def all_vectors(space: Any) -> NDArray[np.int8]:
    """Every subnet of `space` once, encoded, (subnets, choices)."""
    grids = np.indices([len(choice.options) for choice in space]).reshape(len(space.choices), -1).T
    canonical = np.where(space.existing(grids), grids, 0)
    return np.unique(canonical, axis=0).astype(np.int8)


def remake(options: Any) -> None:
    """Train, score every subnet, and write the table to `options.table`. Finished parts are kept in `options.work`."""
    import torch

    torch.set_num_threads(options.processes)
    options.work.mkdir(parents=True, exist_ok=True)
    space = model_space()
    trained(space, options)
    vectors = all_vectors(space.space)
    order = random.Random(options.seed).sample(range(len(vectors)), len(vectors))[: options.subnets]
    shares = [order[process :: options.processes] for process in range(options.processes)]
    if options.processes == 1:
        score_share(shares[0], 0, options)
    else:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=score_share, args=(share, i, options)) for i, share in enumerate(shares)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise SystemExit("error: scoring failed; run the command again to go on from the scores that are there")
    pack(vectors, order, options)


def pack(vectors: NDArray[np.int8], order: Sequence[int], options: Any) -> None:
    """Write the table from the scores in `options.work`."""
    found, rows = scores_in(options.work), sorted(order)
    heldout, test = found[rows[0]]["heldout_images"], found[rows[0]]["test_images"]
    packed = np.array([list(bytes.fromhex(found[row]["heldout"])) for row in rows], dtype=np.uint8)
    correct = np.unpackbits(packed, axis=1)[:, :heldout]
    about = {
        "command": " ".join(["python", "benchmarks/search_regret.py", *sys.argv[1:]]),
        "model": MODEL,
        "training": recipe(options),
        "heldout_images": heldout,
        "test_images": test,
        "calibration_images": CALIBRATION_IMAGES,
        **environment(options.seed),
    }
    np.savez_compressed(
        options.table,
        vectors=vectors[rows],
        correct=np.packbits(correct.T, axis=1),  # image by image: most images are easy or hard for nearly all subnets
        truth=np.array([found[row]["test"] for row in rows], dtype=np.uint16),
        about=np.array(json.dumps(about)),
    )
    log(f"wrote {options.table}: {len(rows)} subnets, {options.table.stat().st_size:,} bytes")


def recipe(options: Any) -> dict[str, Any]:
    """The `training` section."""
    return TRAINING | ({"epochs": options.epochs} if options.epochs else {})


def splits(options: Any) -> tuple[Any, Any, Any]:
    """Training, held-out and test images as examples."""
    from supernet.data.config import DataConfig
    from supernet.data.image_examples import image_examples
    from supernet.data.sources import load_splits

    section = {"source": "parquet", "path": "train.parquet", "test_path": "test.parquet", "image_size": 32}
    config = DataConfig(**section, heldout_fraction=HELDOUT / TRAINING_FILE, limit=options.limit)
    return image_examples(load_splits(config, options.data.resolve(), options.seed))


def trained(space: Any, options: Any) -> Any:
    """The trained supernet; trained once, continued if it was interrupted, then read from its file."""
    from dataclasses import replace

    import torch

    from supernet.data.augmentation_config import AugmentConfig
    from supernet.data.examples import ExampleInputs
    from supernet.evaluation.calibration import seeded_rows
    from supernet.evaluation.evaluation import accuracy, recalibrate
    from supernet.planning.memory import keep_freed_memory
    from supernet.sharing.supernet import Supernet
    from supernet.training.config import TrainingConfig
    from supernet.training.training import train

    keep_freed_memory()
    supernet = Supernet(space, options.seed)
    file = options.work / "supernet.pt"
    if file.is_file():
        supernet.load_state_dict(torch.load(file, weights_only=True))
        return supernet
    data, heldout, _ = splits(options)

    rows = seeded_rows(len(data), CALIBRATION_IMAGES, options.seed)

    def check(subnet: Any) -> float:
        shape = space.input_shape(subnet)
        module = recalibrate(supernet.extract(subnet), ExampleInputs(data, shape, rows))
        return accuracy(module, ExampleInputs(heldout, shape), heldout.labels)

    config = TrainingConfig.model_validate(recipe(options))
    augmented = replace(data, augmentation=AugmentConfig.model_validate(TRAINING["augment"]))
    outcome = train(
        supernet, augmented, config, seed=options.seed, state_file=options.work / "state.safetensors",
        key=digest_of([recipe(options), MODEL]), check=check, progress=Lines(),
    )  # fmt: skip
    for point in outcome.curve:
        log(str(point))
    torch.save(supernet.state_dict(), file)
    return supernet


def score_share(share: Sequence[int], process: int, options: Any) -> None:
    """Score the subnets at the rows `share` of `all_vectors`; append a line for each to a file of this process."""
    import torch

    from supernet.data.examples import ExampleInputs
    from supernet.evaluation.calibration import seeded_rows
    from supernet.evaluation.evaluation import predict, recalibrate

    torch.set_num_threads(1)
    space = model_space()
    supernet, vectors = trained(space, options), all_vectors(space.space)
    known = set(scores_in(options.work))
    data, *judged = splits(options)
    rows = seeded_rows(len(data), CALIBRATION_IMAGES, options.seed)
    inputs: dict[tuple[int, ...], list[Any]] = {}
    show, done = Lines(), 0
    with (options.work / f"scores-{process}.jsonl").open("a", encoding="utf-8") as stream:
        for row in share:
            done += 1
            if row in known:
                continue
            subnet = space.space.decode(tuple(int(i) for i in vectors[row]))
            shape = space.input_shape(subnet)
            if shape not in inputs:
                inputs[shape] = [ExampleInputs(data, shape, rows)[:], *(ExampleInputs(e, shape)[:] for e in judged)]
            calibration, *images = inputs[shape]
            module = recalibrate(supernet.extract(subnet), calibration)
            heldout, test = (predict(module, x) == e.labels.numpy() for x, e in zip(images, judged, strict=True))
            line = {"row": row, "heldout": np.packbits(heldout).tobytes().hex(), "test": int(test.sum())}
            line |= {"heldout_images": len(heldout), "test_images": len(test)}
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            show(done, len(share), f"subnets, process {process}, {test.mean():.4f}")


def scores_in(work: Path) -> dict[int, dict[str, Any]]:
    """What was scored so far, by row. A line that was being written when the process was killed is left out."""
    found = {}
    for path in sorted(work.glob("scores-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            found[entry["row"]] = entry
    return found


class Lines:
    """A progress listener that prints a line from time to time."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """See `Progress`."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + LOG_SECONDS
            log(f"{done}/{total} {detail} {time.process_time():.0f} core-seconds")
