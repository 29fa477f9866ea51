"""Train an elastic text encoder on SST-2 and compare its subnets with the smallest one trained alone.

    python benchmarks/text_sst2.py --data DIR

DIR contains `train.tsv`, `dev.tsv` and `test.tsv` with lines of `sentence<TAB>label`. The dev split is held out; the
test split is used for the final accuracies only. The smallest network is trained alone for as many epochs, with hard
labels and the best of three learning rates on the dev split.

`--quick` trains everything for one epoch instead of two, so accuracies are lower.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory_base.errors import DataError, FactoryError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported

import torch
from common import environment, log, make_parser, parse_options

from supernet.data.examples import ExampleInputs
from supernet.data.token_examples import TokenExamples
from supernet.data.tokenizer import Tokenizer, trained_tokenizer
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
"""Small enough for a few minutes on one core; RECIPE is the usual one of small transformers, without a search."""

LEARNING_RATE = 2e-3
LEARNING_RATES_ALONE = (1e-3, 2e-3, 4e-3)
"""The learning rate of the supernet, and around it those among which the network trained alone has its best."""

WORD_DROPOUT = 0.2
"""Share of the tokens of a training sentence that are replaced by the unknown token, against overfitting."""

QUICK = {"epochs": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSplits:
    """The three splits as tokens, and the tokenizer of the training split."""

    tokenizer: Tokenizer
    train: TokenExamples
    dev: TokenExamples
    test: TokenExamples


class Single:
    """A model space that has a single subnet of another model space, so that it can be trained alone."""

    def __init__(self, whole: ModelSpace, subnet: SubnetConfig) -> None:
        self._whole, self._subnet = whole, subnet
        self.space = SearchSpace(tuple(Choice(name=name, options=(value,)) for name, value in subnet.values))

    def build(self, _subnet: SubnetConfig) -> torch.nn.Module:
        """The network; the argument is ignored, since there is only one subnet."""
        return self._whole.build(self._subnet)

    def input_shape(self, _subnet: SubnetConfig) -> tuple[int, ...]:
        """The shape of its input."""
        return self._whole.input_shape(self._subnet)


def main(arguments: list[str]) -> int:
    """Run the benchmark; the exit code is 1 if the data cannot be read."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(options, Path(temporary))
    except FactoryError as error:
        log(f"error: {error}")
        return 1
    print_table(result)
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, dev.tsv and test.tsv")
    parser.add_argument("--epochs", type=float, default=2, help="passes over the training sentences")
    parser.add_argument("--vocabulary", type=int, default=8000, help="number of tokens of the tokenizer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parse_options(parser, arguments, QUICK)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train everything, and only then use the test split. Raises `FactoryError`."""
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
        "tokens": texts.tokenizer.vocabulary,
        "count": space.space.count(),
        "quick": options.quick,
        **environment(options.seed),
    }


def read(folder: Path, size: int) -> TokenSplits:
    """The splits in `folder`; the tokenizer is trained on the training split. Raises `DataError`."""
    splits = {name: sentences(folder / f"{name}.tsv") for name in ("train", "dev", "test")}
    tokenizer = trained_tokenizer(lambda: [splits["train"][0]], size)

    def examples(name: str, word_dropout: float = 0.0) -> TokenExamples:
        texts, labels = splits[name]
        tokens = torch.from_numpy(tokenizer.encode(texts, SECTION["lengths"][-1]))
        return TokenExamples(tokens=tokens, labels=torch.tensor(labels), word_dropout=word_dropout)

    return TokenSplits(
        tokenizer=tokenizer, train=examples("train", WORD_DROPOUT), dev=examples("dev"), test=examples("test")
    )


def sentences(path: Path) -> tuple[list[str], list[int]]:
    """The sentences and labels in a file. Raises `DataError`."""
    try:
        rows = [line.rpartition("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        return [text for text, _, _ in rows], [int(label) for _, _, label in rows]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected lines of 'sentence<TAB>label'") from error


def text_space(texts: TokenSplits) -> ModelSpace:
    """The model space, for two classes."""
    return make_model_space(TextEncoderConfig(vocabulary=texts.tokenizer.vocabulary, **SECTION), classes=2)


def tiers(space: SearchSpace) -> dict[str, SubnetConfig]:
    """The largest, the middle (middle option of every choice) and the smallest subnet."""
    middle = space.subnet({choice.name: choice.options[len(choice.options) // 2] for choice in space})
    return {"largest": space.largest, "middle": middle, "smallest": space.smallest}


def fit(
    supernet: Supernet, texts: TokenSplits, options: argparse.Namespace, rate: float, name: Path, *, shared: bool
) -> Supernet:
    """Train `supernet` by the sandwich rule, or its largest network alone on hard labels."""
    alone = {} if shared else {"largest_only": 1.0}
    config = TrainingConfig(epochs=options.epochs, learning_rate=rate, **RECIPE | alone)
    train(
        supernet, texts.train, config,
        seed=options.seed, state_file=name.with_suffix(".safetensors"), key=name.name,
        check=lambda subnet: score(supernet, subnet, texts.dev),
        progress=lambda done, total, detail="": show(f"{name.name} {done}/{total} {detail}", done == total),
    )  # fmt: skip
    return supernet


def best_alone(
    space: ModelSpace, subnet: SubnetConfig, texts: TokenSplits, options: argparse.Namespace, folder: Path
) -> tuple[Supernet, float]:
    """`subnet`, trained alone with the learning rate that is best on the dev split, and that rate."""
    found = []
    for rate in LEARNING_RATES_ALONE:
        trained = Supernet(Single(space, subnet), options.seed)
        fit(trained, texts, options, rate, folder / f"alone-{rate:g}", shared=False)
        found.append((score(trained, trained.model_space.space.largest, texts.dev), trained, rate))
    _, trained, rate = max(found, key=lambda one: one[0])
    return trained, rate


def row(supernet: Supernet, name: str, subnet: SubnetConfig, texts: TokenSplits) -> dict[str, Any]:
    """Sizes and accuracies of one subnet with shared weights."""
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


def show(text: str, is_last: bool) -> None:
    """Print progress on standard error; each line replaces the one before."""
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
