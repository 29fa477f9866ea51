"""`factory profile` on the command line: a profile with its table, then a search with it."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from device_profiles.measuring import benchmark, measure


@pytest.fixture(scope="module")
def measured(built, factory, tmp_path_factory):
    """The answer of the command and its file. Limits on noise are off, because other tests make the machine noisy."""
    path = tmp_path_factory.mktemp("measured") / "lab.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "SUSTAINED_SECONDS", 0.5)
        patch.setattr(measure, "NOISE_LIMIT", 1e9)
        patch.setattr(measure, "SLOWDOWN_LIMIT", 1e9)
        few = ("--networks", "6", "--held-out", "2", "--rounds", "4")
        answer = factory(built, "profile", *few, "--output", path, "--quiet")
    assert answer.code == 0, answer.err
    return answer, path


def test_the_command_states_how_far_to_trust_its_table(measured):
    answer, path = measured
    for words in ("parts timed", "held-out networks: mean error", "repeatability", "peak", "lab.yaml: written"):
        assert words in answer.out
    table = json.loads(path.with_name("lab.latency.json").read_text())
    assert len(table["parts"]) == table["part_count"] > 0


def test_a_search_uses_the_table_and_a_damaged_one_ends_in_one_line(measured, built, factory):
    _, path = measured
    assert factory(built, "search", "--device", path, "--quiet").code == 0
    table = path.with_name("lab.latency.json")
    whole = table.read_text()
    table.write_text(whole[: len(whole) // 2])
    answer = factory(built, "search", "--device", path, "--quiet")
    table.write_text(whole)
    assert answer.code == 1
    assert "the latency table is damaged, measure again" in answer.error


def test_a_table_of_another_engine_version_is_named_in_the_search(measured, built, factory, tmp_path):
    _, path = measured
    table = json.loads(path.with_name("lab.latency.json").read_text())
    older = json.dumps({**table, "engine_version": "1.2.3"})
    (tmp_path / "lab.latency.json").write_text(older)
    text = path.read_text().replace(sha256(path.with_name("lab.latency.json").read_bytes()).hexdigest(), "SHA")
    (tmp_path / "lab.yaml").write_text(text.replace("SHA", sha256(older.encode()).hexdigest()))
    answer = factory(built, "search", "--device", tmp_path / "lab.yaml", "--quiet")
    assert answer.code == 0, answer.err
    assert "the latency table was measured with onnxruntime 1.2.3, but " in answer.out
    assert " load " in answer.out


def test_a_build_refuses_a_profile_of_another_engine(app, factory, edit_config):
    profile = app / "profiles" / "phone.yaml"
    edit_config(app, "device: speaker", "device: phone")
    profile.parent.mkdir(exist_ok=True)
    shipped = factory(app, "init", app / "copy").code
    assert shipped == 0
    text = (app / "copy" / "profiles" / "speaker.yaml").read_text()
    profile.write_text(text.replace("name: speaker", "name: phone").replace("engine: onnxruntime", "engine: mnn"))
    answer = factory(app, "build", "--quiet")
    assert answer.code == 1
    assert "is for mnn in fp32, but a build exports fp32 files for onnxruntime only" in answer.error


@pytest.mark.parametrize("option", ["--networks", "--held-out", "--rounds"])
def test_a_number_of_networks_or_rounds_without_end_is_refused(built, factory, option):
    answer = factory(built, "profile", option, 10**9, "--quiet")
    assert answer.code == 2
    assert "is not in the range" in answer.error or "less than or equal" in answer.error


def test_a_machine_that_cannot_be_measured_ends_in_one_line(built, factory):
    answer = factory(built, "profile", "--on", "browser:nowhere", "--quiet")
    assert answer.code == 1
    assert "nowhere: is not the folder 'dist' of onnxruntime-web" in answer.error
