"""The public names of each package: every name loads, type checkers see the same names, and importing stays light."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("device_profiles", "exports", "search", "supernet")

NOTEBOOK = {
    "device_profiles": ("Budgets", "DeviceCosts", "find_profile"),
    "exports": ("export_artifact", "read_manifest", "resolve"),
    "search": ("search_targets",),
    "supernet": ("ModelSpace", "SearchSpace", "Supernet", "recalibrate", "train"),
}
"""The names that a notebook needs. Each has an example that runs."""


def names_for_type_checkers(package: str) -> set[str]:
    source = Path(importlib.import_module(package).__file__ or "").read_text(encoding="utf-8")
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads_and_is_known_to_type_checkers(package):
    module = importlib.import_module(package)
    assert names_for_type_checkers(package) == set(module._MODULES)
    for name in module._MODULES:
        assert getattr(module, name) is not None
        assert name in dir(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package):
    heavy = {"torch", "onnx", "onnxruntime", "optuna", "pandas", "scipy", "sklearn", "numpy"}
    script = f"import sys, {package}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("package", "name"), [(p, name) for p, names in NOTEBOOK.items() for name in names])
def test_the_example_of_a_notebook_name_runs(package, name):
    value = getattr(importlib.import_module(package), name)
    module = inspect.getmodule(value)
    finder = doctest.DocTestFinder(recurse=False)
    (found,) = finder.find(value, name, module=module, globs={})
    assert found.examples, f"{package}.{name} has no example"
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(found)
    assert outcome.failed == 0
