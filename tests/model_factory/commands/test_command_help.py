"""`factory --help`: light, fast, and complete."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

import pytest

HEAVY = (
    "torch", "optuna", "pandas", "sklearn", "scipy", "onnx", "onnxruntime", "matplotlib", "pyarrow", "PIL", "numpy",
    "jinja2", "pydantic", "yaml", "rich",
)  # fmt: skip
COMMANDS = (
    "build",
    "train",
    "import-ofa",
    "search",
    "export",
    "report",
    "profile",
    "resolve",
    "verify",
    "diff",
    "telemetry",
    "init",
)
LIST_MODULES = """
import sys
from model_factory.__main__ import main
sys.argv = ["factory", "--help"]
try:
    main()
except SystemExit:
    print("MODULES", *sys.modules)
"""


def test_help_imports_nothing_heavy(factory_process, tmp_path):
    answer = factory_process(tmp_path, prefix=("-c", LIST_MODULES))
    modules = answer.out.partition("MODULES")[2].split()
    assert "model_factory.cli" in modules
    assert not set(HEAVY) & set(modules)


def test_help_answers_in_under_a_third_of_a_second():
    def processor_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "model_factory", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(processor_seconds() for _ in range(5)) < 0.3


def test_help_names_every_command(factory, tmp_path):
    out = factory(tmp_path, "--help").out
    assert [name for name in COMMANDS if f"  {name} " not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(factory, tmp_path, command):
    answer = factory(tmp_path, command, "--help")
    assert answer.code == 0
    assert f"Usage: factory {command}" in answer.out


def test_no_command_shows_help_and_leaves_with_2(factory, tmp_path):
    answer = factory(tmp_path)
    assert answer.code == 2
    assert "Usage: factory" in answer.out + answer.err
