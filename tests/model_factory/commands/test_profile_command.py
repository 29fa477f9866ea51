"""`factory profile` on the command line: a profile with its table, then a search with it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from device_profiles.measuring import benchmark, measure
from device_profiles.measuring.measure import MeasuredHost, machine_name
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from model_factory.jobs import measuring as jobs


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
    assert "is for mnn, but a build exports files for onnxruntime only" in answer.error


@pytest.mark.parametrize("option", ["--networks", "--held-out", "--rounds"])
def test_a_number_of_networks_or_rounds_without_end_is_refused(built, factory, option):
    answer = factory(built, "profile", option, 10**9, "--quiet")
    assert answer.code == 2
    assert "is not in the range" in answer.error or "less than or equal" in answer.error


def test_a_machine_that_cannot_be_measured_ends_in_one_line(built, factory):
    answer = factory(built, "profile", "--on", "browser:nowhere", "--quiet")
    assert answer.code == 1
    assert "nowhere: is not the folder 'dist' of onnxruntime-web" in answer.error


@pytest.fixture
def quick_measuring(monkeypatch):
    """A measurement that takes no time: the costs of the shipped host, as if they were those of this machine."""

    def measure_host(_space, engine, plan, *, runner, **_):
        profile = find_profile("host", Path("nowhere")).profile.computing_in(plan.precision)
        name = machine_name(runner.machine(), engine, plan.threads, plan.precision)
        errors = {"prediction_error": 0.02, "repeatability_p95": 0.01}
        costs = profile.costs.model_copy(update={"machine": name, **errors})
        profile = profile.stating({plan.precision: costs}).model_copy(update={"threads": plan.threads})
        return MeasuredHost(profile=profile, table=None, measurements=None)

    monkeypatch.setattr(jobs, "measure_host", measure_host)


@pytest.mark.usefixtures("quick_measuring")
def test_a_second_precision_is_added_to_the_profile_of_the_same_machine(built, factory, tmp_path):
    path = tmp_path / "lab.yaml"
    command = ("profile", "--output", path, "--quiet")
    assert factory(built, *command).code == 0
    first = find_profile(str(path), tmp_path).profile
    assert list(first.all_costs) == ["fp32"]
    added = factory(built, *command, "--precision", "int8")
    assert added.code == 0, added.err
    assert "kept           the costs in fp32 that the profile had" in added.out
    both = find_profile(str(path), tmp_path).profile
    assert (list(both.all_costs), both.costs) == (["fp32", "int8"], first.costs)
    again = factory(built, "profile", "--output", path, "--quiet", "--precision", "int8", "--precision", "fp32")
    assert again.code == 0, again.err
    assert find_profile(str(path), tmp_path).profile == both


@pytest.mark.usefixtures("quick_measuring")
def test_costs_of_another_machine_are_dropped_only_by_force(built, factory, tmp_path):
    path = tmp_path / "lab.yaml"
    command = ("profile", "--output", path, "--quiet", "--precision")
    assert factory(built, *command, "fp32").code == 0
    profile = find_profile(str(path), tmp_path).profile
    other = profile.costs.model_copy(update={"machine": "another processor, onnxruntime 1.0, 1 thread"})
    write_profile(profile.stating({"fp32": other}), path)
    before = path.read_bytes()
    refused = factory(built, *command, "int8")
    assert refused.code == 1
    assert "holds costs in fp32 of another processor, onnxruntime 1.0, 1 thread, but now " in refused.error
    assert path.read_bytes() == before
    assert factory(built, *command, "int8", "--force").code == 0
    assert list(find_profile(str(path), tmp_path).profile.all_costs) == ["int8"]


def test_a_precision_that_the_engine_lacks_is_refused_before_anything_is_measured(built, factory):
    pytest.importorskip("MNN")
    answer = factory(built, "profile", "--engine", "mnn", "--precision", "fp32", "--precision", "int8", "--quiet")
    assert answer.code == 1
    assert "engine 'mnn' does not support precision int8; choose fp32" in answer.error
