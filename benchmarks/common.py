"""What all benchmarks share: the option `--quick`, progress messages, facts about the machine. Not a benchmark itself.

Importing it imports neither torch nor the product, so a benchmark can set environment variables before they are loaded.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

QUICK_HELP = "measure the same with less work, under a minute on two CPU cores (see above); not a result"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that prints the docstring of a benchmark as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def parse_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str], quick: Mapping[str, Any]
) -> argparse.Namespace:
    """Add `--quick` to the parser, and parse.

    Args:
        parser: The parser with all other options.
        arguments: The command line.
        quick: Defaults of the quick form, by destination. An option given on the command line overrides them.
    """
    parser.add_argument("--quick", action="store_true", help=QUICK_HELP)
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**quick)
    return parser.parse_args(arguments)


def log(message: str) -> None:
    """Print progress on standard error, since standard output holds the results."""
    print(message, file=sys.stderr, flush=True)


def processor() -> str:
    """The name of the processor if the system states it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def environment(seed: int) -> dict[str, Any]:
    """Machine, its load, versions, seed and date, for the JSON object that a benchmark prints."""
    import torch

    from factory_base.processors import usable_cores

    return {
        "machine": f"{processor()}, {usable_cores()} cores",
        "load": round(os.getloadavg()[0], 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "date": date.today().isoformat(),
    }


def measured(measure: Callable[[argparse.Namespace, Path], T], options: argparse.Namespace) -> T | None:
    """What `measure` returns for `options` and a temporary folder; None after an error, which is logged."""
    from factory_base.errors import FactoryError

    try:
        with tempfile.TemporaryDirectory() as folder:
            return measure(options, Path(folder))
    except FactoryError as error:
        log(f"error: {error}")
        return None
