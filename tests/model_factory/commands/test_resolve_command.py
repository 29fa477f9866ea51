"""What `factory resolve` takes as facts about a device."""

import json

import pytest

from exports import EXAMPLE_MANIFEST
from factory_base.errors import ConfigError
from model_factory.commands.resolve import facts_from_text

LARGE = json.loads(EXAMPLE_MANIFEST.read_text())["models"]["large"]["files"][0]["sha256"]
PHONE = ("--platform", "android", "--ram", "6GiB", "--cores", "8")

_NONE = dict.fromkeys(
    ("ram", "cores", "os_version", "soc", "device", "features", "probe", "free_disk", "free_memory", "engine_version")
) | {"compute_units": ()}


def facts(**given):
    return facts_from_text(platform="android", **(_NONE | given))


@pytest.mark.parametrize(
    ("soc", "maker", "model"),
    [("Acme/A1", "Acme", "A1"), ("Acme/", "Acme", None), ("Acme / A1/b ", "Acme", "A1/b"), (None, None, None)],
)
def test_a_system_on_a_chip_is_a_maker_and_a_model(soc, maker, model):
    assert (facts(soc=soc).soc_maker, facts(soc=soc).soc_model) == (maker, model)


@pytest.mark.parametrize("soc", ["Acme", "Acme A1", "/A1", "", "/"])
def test_a_system_on_a_chip_without_slash_or_maker_is_refused(soc):
    with pytest.raises(ConfigError, match=r"--soc: '.*' is not maker/model such as 'Acme/A1'; write 'Acme/' if"):
        facts(soc=soc)


@pytest.mark.parametrize("version", ["34", "12.1", "1.22.0+cpu", "6.8.0-49-generic", "1.22.0rc1"])
def test_versions_are_taken_as_platforms_write_them(version):
    assert facts(os_version=version, engine_version=version).os_version == version


@pytest.mark.parametrize("version", ["", "new", "v12", "9" * 5000, "12.", ".5", "12..1"])
def test_what_is_no_version_is_refused_in_one_short_line(version):
    for option in ("os_version", "engine_version"):
        with pytest.raises(ConfigError, match="is not a version; write up to 64 characters") as caught:
            facts(**{option: version})
        assert len(str(caught.value)) < 200


def test_a_device_a_probe_and_compute_units_are_facts():
    found = facts(device="Apple/iPhone14,5", probe="mac_1=900", compute_units=("npu", "cpu"), features=["webgpu"])
    assert (found.device_maker, found.device_model) == ("Apple", "iPhone14,5")
    assert found.probe is not None
    assert (found.probe.id, found.probe.score) == ("mac_1", 900)
    assert (found.compute_units, found.features) == (("npu", "cpu"), ("webgpu",))
    assert facts().compute_units == ("cpu",)


@pytest.mark.parametrize("probe", ["mac_1", "=5", "mac_1=", "mac_1=0", "mac_1=-5", "mac_1=1.5", "mac_1=" + "9" * 16])
def test_a_probe_without_id_or_score_is_refused(probe):
    with pytest.raises(ConfigError, match="is not id=score such as"):
        facts(probe=probe)


@pytest.fixture
def resolve(factory, tmp_path):
    """Resolves the example manifest; a dictionary among the arguments becomes a file."""

    def run(*arguments):
        given = list(arguments)
        for index, value in enumerate(given):
            if isinstance(value, dict):
                given[index] = tmp_path / f"{index}.json"
                given[index].write_text(json.dumps(value))
        return factory(tmp_path, "resolve", EXAMPLE_MANIFEST, *given)

    return run


def test_it_prints_the_action_the_model_and_its_compute_unit(resolve):
    assert resolve(*PHONE).out.startswith("model large  (tier midrange, rank 2, on cpu)\n")
    assert "on npu" in resolve(*PHONE, "--compute-unit", "npu", "--compute-unit", "cpu").out
    found = json.loads(resolve(*PHONE, "--json").out)
    assert (found["action"], found["compute_unit"], found["reasons"][-1]["code"]) == ("model", "cpu", "chosen")


def test_it_states_what_the_model_is_worth_by_the_manifest(factory, built):
    model = json.loads(factory(built, "resolve", "dist/tiny", "--platform", "android", "--json").out)
    manifest = json.loads((built / "dist" / "tiny" / "manifest.json").read_text())
    quality = manifest["models"][model["model"]]["quality"]
    assert model["quality"]["value"] == quality["value_ppm"] / 1e6
    assert model["quality"]["measures"] == {name: value / 1e6 for name, value in quality["measures"].items()}
    out = factory(built, "resolve", "dist/tiny", "--platform", "android").out
    assert f"top1 accuracy {quality['value_ppm'] / 1e6:.2%}" in out
    assert "balanced accuracy" in out


def test_a_policy_revokes_a_model(resolve):
    policy = {"policy_version": "1.0", "revoked": [{"sha256": LARGE}]}
    out = resolve(*PHONE, "--policy", policy).out
    assert out.startswith("model small ")
    assert "midrange large: the policy revokes it [revoked]" in out


def test_a_state_tells_what_is_installed_and_what_failed(resolve):
    proof = {"files": [LARGE], "compute_unit": "cpu", "engine": None, "engine_version": None, "os_version": None}
    state = {"state_version": 1, "installed": [LARGE], "proofs": [proof | {"result": "passed", "starts": 1}]}
    assert "on cpu, installed, proven)" in resolve(*PHONE, "--state", state).out
    state["proofs"] = [proof | {"result": "crashed", "starts": 1}]
    assert "[proof_failed]" in resolve(*PHONE, "--state", state).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", {"revoked": []}), "it has no policy_version"),
        (("--policy", {"policy_version": "2.0"}), "is not 1.x"),
        (("--policy", "nowhere.json"), "nowhere.json"),
        (("--state", {"installed": []}), "is not a client's state of version 1"),
        (("--state", "/dev/zero"), "is not a regular file"),
        (("--no-features", "--feature", "a"), "contradict each other"),
        (("--feature", ""), "at least one character"),
    ],
)
def test_what_it_cannot_use_is_one_line(resolve, arguments, message):
    answer = resolve(*PHONE, *arguments)
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.count("\n") == 1
