"""Train an elastic text encoder on SST-2 and compare its subnets with the smallest one trained alone.

    python benchmarks/text_sst2.py --data DIR

DIR holds `train.tsv`, `dev.tsv` and `test.tsv`, lines of `sentence<TAB>label`. The dev part is the held-out data, the
test part is used for the final figures only. The smallest network alone gets as many epochs, hard labels, and the best
of three learning rates on the dev part. The last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory_base.errors import FactoryError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch

from supernet.data.examples import ExampleInputs
from supernet.data.text import Vocabulary, load_sentences
from supernet.data.token_examples import TokenExamples
from supernet.evaluation.evaluation import accuracy
from supernet.model_space import ModelSpace
from supernet.sharing.macs import count_macs
from supernet.sharing.supernet import Supernet
from supernet.space import Choice, SearchSpace, SubnetConfig
from supernet.spaces import make_model_space
from supernet.spaces.transformer_config import TextEncoderConfig
from supernet.training.config import TrainingConfig
from supernet.training.training import train

SECTION: dict[str, Any] = {
    "lengths": [16, 24, 32],
    "widths": [32, 48, 64],
    "depths": [1, 2],
    "heads": [1, 2, 4],
    "head_dim": 16,
    "mlp_ratios": [1, 2],
    "dropout": 0.2,
}
RECIPE: dict[str, Any] = {
    "batch_size": 64,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "warmup": 0.1,
    "clip_norm": 1.0,
    "label_smoothing": 0.1,
    "random_subnets": 1,
    "device": "cpu",
    "save_every": 3600,
}
LEARNING_RATE = 2e-3
LEARNING_RATES_ALONE = (1e-3, 2e-3, 4e-3)
WORD_DROPOUT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The three parts as tokens."""

    vocabulary: Vocabulary
    train: TokenExamples
    dev: TokenExamples
    test: TokenExamples


class Single:
    """One subnet of a model space as a space of its own: what is trained alone."""

    def __init__(self, whole: ModelSpace, subnet: SubnetConfig) -> None:
        self._whole, self._subnet = whole, subnet
        self.space = SearchSpace(tuple(Choice(name=name, options=(value,)) for name, value in subnet.values))

    def build(self, _subnet: SubnetConfig) -> torch.nn.Module:
        """The network."""
        return self._whole.build(self._subnet)

    def input_shape(self, _subnet: SubnetConfig) -> tuple[int, ...]:
        """Its input."""
        return self._whole.input_shape(self._subnet)


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 where the data cannot be read."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(options, Path(temporary))
    except FactoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--epochs", type=float, default=2, help="passes over the training sentences")
    parser.add_argument("--vocabulary", type=int, default=8000, help="number of tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train everything, then touch the test part. Raises `FactoryError`."""
    texts = read(options.data, options.vocabulary)
    space = text_space(texts)
    started = time.monotonic()
    supernet = fit(Supernet(space, options.seed), texts, options, LEARNING_RATE, folder / "shared", shared=True)
    shared_seconds = time.monotonic() - started
    smallest = space.space.smallest
    alone, rate = best_alone(space, smallest, texts, options, folder)
    rows = [row(supernet, name, subnet, texts) for name, subnet in tiers(space.space).items()]
    alone_accuracy = score(alone, alone.model_space.space.largest, texts.test)
    return {
        "benchmark": "text_sst2",
        "subnets": rows,
        "largest_accuracy": rows[0]["test_accuracy"],
        "middle_accuracy": rows[1]["test_accuracy"],
        "smallest_accuracy": rows[-1]["test_accuracy"],
        "smallest_alone_accuracy": round(alone_accuracy, 5),
        "smallest_alone_learning_rate": rate,
        "smallest_gap": round(rows[-1]["test_accuracy"] - alone_accuracy, 5),
        "shared_seconds": round(shared_seconds, 1),
        "seconds": round(time.monotonic() - started, 1),
        "epochs": options.epochs,
        "sentences": [len(texts.train), len(texts.dev), len(texts.test)],
        "tokens": len(texts.vocabulary),
        "count": space.space.count(),
        **surroundings(options),
    }


def read(folder: Path, size: int) -> Texts:
    """The parts in `folder`; the vocabulary comes from the training part. Raises `DataError`."""
    parts = {name: load_sentences(folder / f"{name}.tsv") for name in ("train", "dev", "test")}
    vocabulary = Vocabulary.build(parts["train"].sentences, size)
    length = SECTION["lengths"][-1]
    return Texts(
        vocabulary=vocabulary,
        train=TokenExamples.of(parts["train"], vocabulary, length, WORD_DROPOUT),
        dev=TokenExamples.of(parts["dev"], vocabulary, length),
        test=TokenExamples.of(parts["test"], vocabulary, length),
    )


def text_space(texts: Texts) -> ModelSpace:
    """The model space, for two classes."""
    return make_model_space(TextEncoderConfig(vocabulary=len(texts.vocabulary), **SECTION), classes=2)


def tiers(space: SearchSpace) -> dict[str, SubnetConfig]:
    """Largest, middle (the middle option of every choice) and smallest."""
    middle = space.subnet({choice.name: choice.options[len(choice.options) // 2] for choice in space})
    return {"largest": space.largest, "middle": middle, "smallest": space.smallest}


def fit(
    supernet: Supernet, texts: Texts, options: argparse.Namespace, rate: float, name: Path, *, shared: bool
) -> Supernet:
    """`supernet`, trained: by the sandwich rule, or as one network on hard labels."""
    alone = {} if shared else {"largest_only": 1.0}
    config = TrainingConfig(epochs=options.epochs, learning_rate=rate, **RECIPE | alone)
    train(
        supernet, texts.train, config,
        seed=options.seed, state_file=name.with_suffix(".safetensors"), key=name.name,
        check=lambda subnet: score(supernet, subnet, texts.dev),
        progress=lambda done, total, detail="": tell(f"{name.name} {done}/{total} {detail}", done == total),
    )  # fmt: skip
    return supernet


def best_alone(
    space: ModelSpace, subnet: SubnetConfig, texts: Texts, options: argparse.Namespace, folder: Path
) -> tuple[Supernet, float]:
    """`subnet` trained alone at the learning rate that is best on the dev part, and that rate."""
    found = []
    for rate in LEARNING_RATES_ALONE:
        trained = Supernet(Single(space, subnet), options.seed)
        fit(trained, texts, options, rate, folder / f"alone-{rate:g}", shared=False)
        found.append((score(trained, trained.model_space.space.largest, texts.dev), trained, rate))
    _, trained, rate = max(found, key=lambda one: one[0])
    return trained, rate


def row(supernet: Supernet, name: str, subnet: SubnetConfig, texts: Texts) -> dict[str, Any]:
    """The figures of one shared subnet."""
    return {
        "subnet": name,
        "macs": count_macs(supernet.model_space, subnet),
        "parameters": sum(p.numel() for p in supernet.model_space.build(subnet).parameters()),
        "dev_accuracy": round(score(supernet, subnet, texts.dev), 5),
        "test_accuracy": round(score(supernet, subnet, texts.test), 5),
    }


def score(supernet: Supernet, subnet: SubnetConfig, examples: TokenExamples) -> float:
    """Accuracy of the extracted subnet, in [0, 1]."""
    inputs = ExampleInputs(examples, supernet.model_space.input_shape(subnet))
    return accuracy(supernet.extract(subnet).eval(), inputs, examples.labels)


def surroundings(options: argparse.Namespace) -> dict[str, Any]:
    """Machine, threads, versions, seed, date."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "machine": f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores",
        "threads": options.threads,
        "torch": torch.__version__,
        "seed": options.seed,
        "date": datetime.now(UTC).date().isoformat(),
    }


def tell(text: str, is_last: bool) -> None:
    """One line of progress that replaces itself."""
    print(f"\r{text:<78}", end="\n" if is_last else "", file=sys.stderr, flush=True)


def print_table(result: dict[str, Any]) -> None:
    """The table for `benchmarks/README.md`."""
    print("| subnet | kMACs | parameters | dev | test |")
    print("|---|--:|--:|--:|--:|")
    for subnet in result["subnets"]:
        sizes = f"{subnet['macs'] / 1e3:.0f} | {subnet['parameters']:,}"
        print(f"| {subnet['subnet']} | {sizes} | {subnet['dev_accuracy']:.2%} | {subnet['test_accuracy']:.2%} |")
    print(f"| smallest, alone | | | | {result['smallest_alone_accuracy']:.2%} |\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
