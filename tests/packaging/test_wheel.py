"""The built wheel has the right files and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = {"model_factory", "supernet", "search", "device_profiles", "exports", "factory_base"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def names(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run_installed(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "model_factory", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True, text=True)


def test_the_top_level_names_are_the_six_packages(names):
    tops = {name.split("/")[0] for name in names}
    assert {name for name in tops if not name.endswith(".dist-info")} == PACKAGES
    assert sum(name.endswith(".dist-info") for name in tops) == 1


@pytest.mark.parametrize(
    "pattern",
    [
        "device_profiles/profiles/*.yaml",
        "device_profiles/socs/*.yaml",
        "exports/client/python/*",
        "exports/client/vectors/*",
        "exports/client/kotlin/*",
        "exports/client/kotlin/src/**/*.kt",
        "exports/client/typescript/*",
        "exports/client/typescript/src/*.ts",
        "exports/client/typescript/dist/*",
        "exports/page/static/*",
        "exports/family/manifest.schema.json",
        "device_profiles/measuring/runners/page/*",
        "*/py.typed",
    ],
)
def test_files_other_than_code_are_in_it(names, pattern):
    expected = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern) if path.is_file()}
    assert expected
    assert expected <= names


def test_all_configs_and_the_report_template_are_in_it(names):
    configs = {f"model_factory/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    assert {name for name in names if name.startswith("model_factory/configs/")} == configs
    assert "model_factory/report/report.html.jinja" in names


def test_every_module_is_in_it_and_nothing_else_of_the_checkout(names):
    modules = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_no_file_names_the_machine_that_built_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if str(ROOT).encode() in archive.read(name)]
    assert not found


def test_the_installed_wheel_works_away_from_the_checkout(installed, tmp_path):
    script = "import model_factory; print(model_factory.__file__)"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", script]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert Path(answer.stdout.strip()).is_relative_to(installed)
    assert "build" in run_installed(installed, tmp_path, "--help").stdout


def test_the_installed_wheel_writes_the_files_that_the_checkout_ships(installed, tmp_path):
    run_installed(installed, tmp_path, "init", "app")
    config = (tmp_path / "app" / "factory.yaml").read_text(encoding="utf-8")
    shipped = yaml.safe_load((ROOT / "configs" / "images.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(config) == shipped | {"name": "app"}
    assert (tmp_path / "app" / "factory.schema.json").is_file()
    written = {path.name for path in (tmp_path / "app" / "profiles").iterdir()}
    assert written == {path.name for path in (ROOT / "device_profiles" / "profiles").glob("*.yaml")}


def test_torch_is_pinned_below_the_first_release_that_was_not_tested(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    assert "Requires-Dist: torch<2.14,>=2.9" in lines
    assert "Requires-Python: >=3.11" in lines
