"""The option `--quick`, which all benchmarks have."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
BENCHMARKS = sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8"))


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--subnets", type=int, default=7)
    return parser


def test_the_quick_form_replaces_defaults_only(load, parser):
    common = load("common")
    options = common.parse_options(parser, ["--quick", "--subnets", "9"], {"repeats": 2, "subnets": 3})
    assert (options.quick, options.repeats, options.subnets) == (True, 2, 9)


def test_without_quick_the_defaults_are_those_of_the_full_form(load, parser):
    options = load("common").parse_options(parser, [], {"repeats": 2})
    assert (options.quick, options.repeats, options.subnets) == (False, 20, 7)


@pytest.mark.parametrize("script", BENCHMARKS)
def test_every_benchmark_documents_quick_in_the_same_words(script, load, capsys):
    with pytest.raises(SystemExit, match="0"):
        load(script).parse(["--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert f"--quick {load('common').QUICK_HELP}" in text
    assert "`--quick`" in text


@pytest.mark.parametrize("script", BENCHMARKS)
def test_the_readme_has_the_question_and_the_quick_command_of_every_benchmark(script):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| `{script}.py` |" in text
    assert re.search(rf"\| `{script}.py( [^`|]*)? --quick` \|", text)
