"""`factory init` and the lists: what a new user finds before the first build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from model_factory import __version__
from model_factory.config import load_config, shipped_configs
from model_factory.jobs.scaffolding.template import family_name, scaffold

TEMPLATES = sorted(path.stem for path in shipped_configs().glob("*.yaml"))


def test_the_config_for_own_images_names_the_family_its_path_and_budgets(factory, tmp_path):
    answer = factory(tmp_path, "init", "My Birds")
    text = (tmp_path / "My Birds" / "factory.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    assert config["name"] == "my-birds"
    assert config["data"] | {"source": "folder", "path": None} == config["data"]
    assert all(set(target["budgets"]) == {"latency", "peak_memory", "file_size"} for target in config["targets"])
    assert "demo" not in text
    assert "data: none yet; set data.path in My Birds/factory.yaml to your images" in answer.out
    assert "`factory init FOLDER --data PATH`" in answer.out


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_valid_under_the_name_of_the_folder(tmp_path, template):
    written = scaffold(tmp_path / "birds", template)
    text = written.config.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=factory.schema.json\n")
    assert (tmp_path / "birds" / "factory.schema.json").is_file()
    written.config.write_text(re.sub(r"^  path: .*# SET THIS", "  path: photos #", text, flags=re.MULTILINE))
    assert load_config(written.config).name == written.family == "birds"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("app", "app"),
        ("Vögel & Co.", "v-gel-co"),
        ("_x", "x"),
        ("...", "family"),
        ("a" * 70, "a" * 64),
        ("/", "family"),
    ],
)
def test_any_folder_gives_a_valid_name(folder, name):
    assert family_name(Path("/tmp") / folder) == name


def test_a_file_in_place_of_the_folder_is_called_a_file(factory, tmp_path):
    (tmp_path / "birds").write_text("")
    answer = factory(tmp_path, "init", "birds")
    assert (answer.code, answer.error) == (
        1,
        "error: birds is a file; name a folder, which is created if it is missing",
    )


def test_every_target_without_a_profile_is_named_with_its_place(factory, tmp_path):
    factory(tmp_path, "init", "birds", "--template", "mobile_int8")
    path = tmp_path / "birds" / "factory.yaml"
    text = path.read_text().replace("device: lowend_1gb}", "device: lowend1gb}")
    path.write_text(text.replace("device: flagship}", "device: flgship}"))
    lines = factory(tmp_path / "birds", "build").err.splitlines()
    assert lines[0].endswith("factory.yaml: 2 mistakes")
    assert "'targets.0.device': device profile 'lowend1gb' is neither" in lines[1]
    assert "did you mean 'lowend_1gb'?" in lines[1]
    assert "'targets.4.device': device profile 'flgship' is neither" in lines[2]


def test_the_first_build_of_the_blank_says_that_the_path_of_the_data_must_be_set(factory, tmp_path):
    factory(tmp_path, "init", "birds")
    answer = factory(tmp_path / "birds", "build")
    assert (answer.code, answer.error.count("\n")) == (1, 0)
    assert "set data.path to the location of your data, which source 'folder' needs" in answer.error


def test_templates_are_listed_with_what_they_are_for_and_nothing_is_written(factory, tmp_path):
    *lines, last = factory(tmp_path, "init", "--list").out.splitlines()[2:]
    assert "`factory init FOLDER --data PATH`" in last
    assert [line.split()[0] for line in lines] == TEMPLATES
    assert all(30 < len(line.strip()) <= 80 for line in lines)
    assert not list(tmp_path.iterdir())


def test_profiles_are_listed_own_ones_included(factory, empty_app):
    factory(empty_app, "init", "other")
    (empty_app / "profiles").mkdir()
    mine = (empty_app / "other" / "profiles" / "midrange.yaml").read_text(encoding="utf-8")
    (empty_app / "profiles" / "mine.yaml").write_text(mine.replace("name: midrange", "name: mine"), encoding="utf-8")
    out = factory(empty_app, "profile", "--list").out
    rows = [line.split() for line in out.splitlines()]
    assert ["mine", "fp32,", "int8", "modelled", "file"] in [row[:5] for row in rows]
    assert ["midrange", "fp32,", "int8", "modelled", "shipped"] in [row[:5] for row in rows]
    assert "sheets for --modelled: browser, flagship" in out


def test_the_version_is_shown(factory, tmp_path):
    answer = factory(tmp_path, "--version")
    assert (answer.code, answer.out) == (0, f"factory {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify"], "Missing argument 'FAMILY'; see `factory verify --help`"),
        (["verif"], "No such command 'verif'"),
        (["resolve", "a", "--platform", "win"], "'--platform': 'win' is not one of 'android', 'ios', 'web'"),
        (["verify", "a", "\x1b[31mred\nerror: x"], r"extra argument(s) (\x1b[31mred"),
    ],
)
def test_wrong_arguments_are_one_line_that_a_terminal_does_not_obey(factory, tmp_path, arguments, message):
    answer = factory(tmp_path, *arguments)
    assert answer.code == 2
    assert message.replace("(s)", "") in answer.error.replace("(s)", "")
