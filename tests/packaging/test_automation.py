"""Makefile, the scripts in `.ci` and the workflows call the commands that a person calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CONFIG", "OLD", "FLAGS"))}
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True)


def workflow(name: str) -> dict[Any, Any]:
    value = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_family_workflow_calls_the_make_target_that_a_person_calls():
    runs = [step["run"] for step in steps("family.yml") if "run" in step]
    assert "make family" in runs
    assert make("--dry-run", "family", "FACTORY=factory").returncode == 0


def test_the_family_workflow_runs_on_a_schedule_and_on_demand():
    triggers = workflow("family.yml")[True]  # YAML 1.1 reads the key `on` as true
    assert set(triggers) == {"schedule", "workflow_dispatch"}


def test_the_family_workflow_publishes_only_a_family_that_was_not_refused():
    uploads = [step for step in steps("family.yml") if "upload-artifact" in step.get("uses", "")]
    published, kept, refused = uploads
    assert "if" not in published
    assert "if" not in kept
    assert kept["with"]["name"].startswith("evaluation-")
    assert "failure()" in refused["if"]
    assert refused["with"]["name"].startswith("refused-")


def test_workflow_scripts_take_values_from_the_environment_only():
    scripts = [step["run"] for name in ("ci.yml", "family.yml") for step in steps(name) if "run" in step]
    assert not [text for text in scripts if "${{" in text]


def test_the_ci_workflow_runs_the_ci_script():
    assert [step["run"] for step in steps("ci.yml") if "run" in step] == ["bash .ci/run"]


def test_the_ci_script_runs_the_linters_and_then_the_readmes_test_command(tmp_path):
    script(tmp_path / "make", f'echo "$@" >> {tmp_path / "calls"}; pwd >> {tmp_path / "calls"}')
    environment = with_programs(tmp_path)
    subprocess.run([ROOT / ".ci" / "run"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "calls").read_text().split() == ["setup", str(ROOT), "check", str(ROOT), "test", str(ROOT)]
    assert "    make test " in (ROOT / "README.md").read_text(encoding="utf-8")


def with_programs(folder: Path) -> dict[str, str]:
    """An environment in which all programs that tests use seem to be installed."""
    script(folder / "dpkg", "exit 0")
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "MODEL_FACTORY_NPM": "npm"}


def test_the_ci_script_continues_if_programs_cannot_be_installed(tmp_path):
    script(tmp_path / "make", "exit 0")
    for name in ("dpkg", "apt-get", "npm"):
        script(tmp_path / name, "exit 1")
    script(tmp_path / "id", "echo 0")
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for name in ("XDG_CACHE_HOME", "MODEL_FACTORY_NPM", "MODEL_FACTORY_ONNXRUNTIME_WEB"):
        environment.pop(name, None)
    answer = subprocess.run([ROOT / ".ci" / "run"], env=environment, check=True, capture_output=True, text=True)
    assert "not installed: onnxruntime-web typescript@5 @types/node@20 kotlin-compiler@2.4" in answer.stdout
    assert "not installed: adb" in answer.stdout


def test_the_tests_are_told_where_the_npm_packages_are(tmp_path):
    script(tmp_path / "make", f'echo "$MODEL_FACTORY_NPM $MODEL_FACTORY_ONNXRUNTIME_WEB" > {tmp_path / "told"}')
    packages = tmp_path / ".cache" / "model-factory" / "npm"
    script(tmp_path / "npm", f'echo "$@" >> {tmp_path / "npm-calls"}; mkdir -p "$3/node_modules/onnxruntime-web/dist"')
    environment = with_programs(tmp_path) | {"HOME": str(tmp_path)}
    for name in ("XDG_CACHE_HOME", "MODEL_FACTORY_NPM", "MODEL_FACTORY_ONNXRUNTIME_WEB"):
        environment.pop(name, None)
    (packages / "node_modules" / "typescript").mkdir(parents=True)
    subprocess.run([ROOT / ".ci" / "run"], env=environment, check=True, capture_output=True)
    assert (tmp_path / "told").read_text().split() == [str(packages), f"{packages}/node_modules/onnxruntime-web/dist"]
    installed = (tmp_path / "npm-calls").read_text().split()[-3:]
    assert installed == ["onnxruntime-web", "@types/node@20", "kotlin-compiler@2.4"]


def test_the_ci_script_stops_at_the_first_failure(tmp_path):
    script(tmp_path / "make", f'echo "$@" >> {tmp_path / "calls"}; exit 3')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    answer = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True)
    assert answer.returncode == 3
    assert (tmp_path / "calls").read_text().split() == ["setup"]


def test_the_engines_script_runs_the_tests_that_are_marked(tmp_path):
    script(tmp_path / "make", f'echo "$@: $PYTEST_ADDOPTS" >> {tmp_path / "calls"}; pwd >> {tmp_path / "calls"}')
    environment = with_programs(tmp_path) | {"PYTEST_ADDOPTS": "--color=no"}
    subprocess.run([ROOT / ".ci" / "engines"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "calls").read_text().splitlines() == ["test: --color=no -m engines -rs", str(ROOT)]


def test_the_selection_of_the_engines_script_wins_over_that_of_the_project(tmp_path):
    (tmp_path / "pytest.ini").write_text('[pytest]\naddopts = -m "not engines"\nmarkers = engines\n', encoding="utf-8")
    text = "import pytest\n@pytest.mark.engines\ndef test_one(): pass\ndef test_other(): pass\n"
    (tmp_path / "test_them.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"]
    environment = os.environ | {"PYTEST_ADDOPTS": "-m engines -rs"}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "test_one" in answer.stdout
    assert "test_other" not in answer.stdout


@pytest.fixture
def run_lowest(tmp_path):
    """Runs `.ci/lowest` with a Python that makes a stand-in environment, in which every call is noted but not done."""

    def run(root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        tool = script(tmp_path / "tool", f'echo "$@" >> {tmp_path / "calls"}')
        makes = f'mkdir -p "$4/bin" && cp {tool} "$4/bin/python"'
        python = script(tmp_path / "python", f'if [ "$2" = venv ]; then {makes}; else exec {sys.executable} "$@"; fi')
        given = os.environ | {"PYTHON": str(python), "VENV": str(tmp_path / "venv"), "TORCH": ""} | environment
        return subprocess.run([root / ".ci" / "lowest"], env=given, capture_output=True, text=True)

    return run


def lower_bounds() -> dict[str, str]:
    """The requirements that `.ci/lowest` installs, and the lower end of each range."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for name in ("test", "mnn", "transformers") for text in project["optional-dependencies"][name]]
    found = {}
    for requirement in map(Requirement, project["dependencies"] + extras):
        (version,) = (part.version for part in requirement.specifier if part.operator == ">=")
        assert found.setdefault(requirement.name, version) == version
    return found


def test_the_script_of_lowest_versions_pins_every_requirement_to_its_lower_bound(run_lowest, tmp_path):
    answer = run_lowest()
    assert answer.returncode == 0
    pins = dict(line.split("==") for line in (tmp_path / "venv" / "lowest.txt").read_text().splitlines())
    assert pins == lower_bounds()
    assert f"torch=={pins['torch']}" in answer.stdout
    install, tests = (tmp_path / "calls").read_text().splitlines()
    assert f"--constraint {tmp_path / 'venv' / 'lowest.txt'} --editable .[test,mnn,transformers]" in install
    assert tests.startswith("-m pytest ")


def test_the_script_of_lowest_versions_takes_another_torch_if_it_is_named(run_lowest, tmp_path):
    assert run_lowest(TORCH="2.13.0").returncode == 0
    pins = dict(line.split("==") for line in (tmp_path / "venv" / "lowest.txt").read_text().splitlines())
    assert pins == lower_bounds() | {"torch": "2.13.0"}


def test_the_script_of_lowest_versions_runs_and_leaves_out_only_tests_that_exist(run_lowest, tmp_path):
    run_lowest()
    words = (tmp_path / "calls").read_text().splitlines()[-1].split()
    nodes = [word.removeprefix("--deselect=") for word in words if "tests/" in word]
    assert len(nodes) > 10
    for node in nodes:
        path, _, test = node.partition("::")
        assert (ROOT / path).exists(), node
        assert not test or f"def {test.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8"), node


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy~=1.26", "numpy>=1.26; python_version > '3'"])
def test_the_script_of_lowest_versions_names_a_range_that_it_cannot_read(run_lowest, tmp_path, requirement):
    shutil.copytree(ROOT / ".ci", tmp_path / "checkout" / ".ci")
    extras = "test = []\nmnn = []\ntransformers = []\n"
    text = f'[project]\ndependencies = ["{requirement}"]\n[project.optional-dependencies]\n{extras}'
    (tmp_path / "checkout" / "pyproject.toml").write_text(text, encoding="utf-8")
    answer = run_lowest(tmp_path / "checkout")
    assert answer.returncode == 1
    assert "has no lower bound of the form name>=version" in answer.stderr
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("name: tiny", "dist/tiny"),
        ("name:   tiny.v2   # of the app", "dist/tiny.v2"),
        ('name: "tiny_2"', "dist/tiny_2"),
        ("name: 'tiny'", "dist/tiny"),
    ],
)
def test_make_finds_the_family_folder_of_a_config(tmp_path, line, folder):
    config = tmp_path / "my.yaml"
    config.write_text(f"# comment\nrelease: 1\n{line}\nseed: 0\ndata:\n  name: other\n", encoding="utf-8")
    assert make("family-folder", f"CONFIG={config}").stdout.strip() == f"{tmp_path}/{folder}"
    assert make("family-folder", CONFIG=str(config)).stdout.strip() == f"{tmp_path}/{folder}"


def test_make_family_without_a_config_builds_the_embedded_digits():
    assert make("family-folder").stdout.strip() == "dist/digits"


def test_an_old_python_is_named_and_nothing_is_set_up(tmp_path):
    old = script(tmp_path / "old-python", 'if [ "$1" = --version ]; then echo Python 3.9.1; else exit 1; fi')
    answer = make("demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert answer.returncode != 0
    assert "error: Python 3.9.1 is too old; 3.11 or newer is needed" in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_named(tmp_path):
    answer = make("demo", "PYTHON=python-that-is-not-there", f"VENV={tmp_path / 'venv'}")
    assert "there is no 'python-that-is-not-there'; install Python 3.11" in answer.stderr


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_setting_up_needs_no_newer_pip_than_pythons_own(target, tmp_path):
    planned = make("--dry-run", target, f"VENV={tmp_path / 'venv'}").stdout
    assert "-m pip install" in planned
    assert "--group" not in planned
    assert "--upgrade" not in planned
