"""`factory --help` is light, fast, complete, and fits 80 columns."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

import pytest
import typer

from model_factory.cli import COMMANDS, app

HEAVY = (
    "torch", "optuna", "pandas", "sklearn", "scipy", "onnx", "onnxruntime", "matplotlib", "pyarrow", "PIL", "numpy",
    "jinja2", "pydantic", "yaml", "rich",
)  # fmt: skip
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


def test_help_describes_every_command_in_a_whole_sentence(factory, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in factory(tmp_path, "--help").out.partition("Commands:")[2].splitlines() if line]
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits_80_columns_and_describes_each_option(factory, tmp_path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    answer = factory(tmp_path, command, "--help")
    assert answer.code == 0
    assert f"Usage: factory {command}" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    described = typer.main.get_command(app).commands[command].params
    assert [parameter.name for parameter in described if not parameter.help] == []


def test_no_command_shows_help_and_exits_with_2(factory, tmp_path):
    answer = factory(tmp_path)
    assert answer.code == 2
    assert "Usage: factory" in answer.out + answer.err
