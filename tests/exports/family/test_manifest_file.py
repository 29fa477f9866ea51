import json
from pathlib import Path

import jsonschema
import pytest

from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import resolve
from exports.family.manifest import FILE_NAME, SCHEMA_FILE, manifest_schema, parse_manifest, read_manifest
from exports.family.records import Selector
from factory_base.errors import ManifestError


@pytest.fixture(scope="module")
def written(built, tmp_path_factory):
    import shutil

    from exports.family.family import write_family

    folder = tmp_path_factory.mktemp("manifest")
    shutil.copytree(built[0] / "models", folder / "models")
    write_family(folder, built[1])
    return json.loads((folder / FILE_NAME).read_text())


@pytest.fixture
def value(written):
    return json.loads(json.dumps(written))


def parse(value):
    return parse_manifest(json.dumps(value).encode(), "manifest.json")


def read(value, folder: Path):
    (folder / FILE_NAME).write_text(json.dumps(value))
    return read_manifest(folder)


def test_the_shipped_schema_is_that_of_the_records():
    assert json.loads(SCHEMA_FILE.read_text()) == manifest_schema()


def test_a_real_manifest_is_valid_under_the_schema(value):
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("field", ["family_id", "tiers", "models", "task", "provenance"])
def test_a_missing_field_breaks_both_schema_and_reader(value, field):
    del value[field]
    assert not jsonschema.Draft202012Validator(manifest_schema()).is_valid(value)
    with pytest.raises(ManifestError, match=f"'{field}': field required"):
        parse(value)


def test_a_manifest_is_found_by_its_file_and_by_its_folder(value, tmp_path):
    assert read(value, tmp_path) == read_manifest(tmp_path / FILE_NAME)


def test_unknown_fields_of_a_newer_minor_version_are_ignored(value):
    old = parse(value)
    value |= {"routing": {"mode": "only_on_device"}, "x_note": 1.5, "manifest_version": "1.7"}
    value["models"]["small"]["licence"] = "Apache-2.0"
    assert parse(value).models == old.models


def test_unknown_keys_of_a_selector_are_kept(value):
    value["tiers"][1]["match"][0]["bench_min"] = 5
    assert parse(value).tiers[1].match[0].model_extra == {"bench_min": 5}
    assert Selector(ram_class_min=1).model_extra == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"manifest_version": "2.0"}, "manifest version '2.0', this tool reads 1.x"),
        ({"manifest_version": 1}, "no manifest_version"),
        ({"critical": ["shards"]}, "needs the unknown features shards"),
        ({"schema": "urn:other"}, "'schema'"),
        ({"release": 0}, "'release': input should be greater than or equal to 1, got 0"),
        ({"release": 1.0}, "'release': input should be a valid integer"),
        ({"release": "1"}, "'release': input should be a valid integer, got '1'"),
        ({"family_id": "Big Family"}, "'family_id'"),
        ({"release": 2**53}, r"outside \+-\(2\^53-1\)"),
        ({"x": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}, "nested deeper than 16"),
        ({"x": "a" * 300_000}, "larger than the limit of 262,144 bytes"),
        ({"x": float("nan")}, "NaN is not a number in JSON"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(value, change, message):
    with pytest.raises(ManifestError, match=message) as caught:
        parse(value | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../secret", "models/../../x", "/etc/passwd", "a\\b", "a//b", ".hidden", "c:x", ""])
def test_a_path_that_could_leave_the_folder_is_refused(value, name):
    value["models"]["small"]["files"][0]["name"] = name
    with pytest.raises(ManifestError, match=r"models\.small\.files\.0\.name"):
        parse(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"release": 1, "release": 2}', "key 'release' is given twice"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "nested deeper|not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "exceeds 64 bits"),
        (b'{"a": 1e999}', "is too large"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[]", "is not a manifest"),
        (b"", "not valid JSON"),
    ],
)
def test_bytes_that_are_not_a_manifest_are_refused(data, message):
    with pytest.raises(ManifestError, match=message):
        parse_manifest(data, "manifest.json")


def test_a_missing_manifest_is_one_line(tmp_path):
    with pytest.raises(ManifestError, match=r"cannot be read \(No such file"):
        read_manifest(tmp_path / "nowhere")


def test_a_huge_file_is_not_read_whole(tmp_path):
    with (tmp_path / FILE_NAME).open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ManifestError, match="larger than the limit"):
        read_manifest(tmp_path)


def test_a_tier_must_name_a_described_model(value, tmp_path):
    value["tiers"][2]["models"] = ["gone"]
    with pytest.raises(ManifestError, match="tier 'phone' names the model 'gone'"):
        read(value, tmp_path)


def test_the_floor_is_mandatory(value, tmp_path):
    value["tiers"] = [tier for tier in value["tiers"] if tier["rank"]]
    with pytest.raises(ManifestError, match="one tier of rank 0"):
        read(value, tmp_path)


def test_ranks_are_contiguous_within_a_platform(value, tmp_path):
    value["tiers"][2]["rank"] = 3
    with pytest.raises(ManifestError, match=r"ranks of platform 'android' are \[1, 3\]"):
        read(value, tmp_path)


def test_ids_of_tiers_are_unique(value, tmp_path):
    value["tiers"][2]["id"] = "entry"
    with pytest.raises(ManifestError, match="the tier id 'entry' is used twice"):
        read(value, tmp_path)


def test_one_file_has_one_description(value, tmp_path):
    value["models"]["small"]["files"][0]["name"] = value["models"]["large"]["files"][0]["name"]
    with pytest.raises(ManifestError, match="described twice"):
        read(value, tmp_path)


def test_labels_and_classes_agree(value, tmp_path):
    value["task"]["labels"].append("fox")
    with pytest.raises(ManifestError, match="4 classes, but there are 5 labels"):
        read(value, tmp_path)


def test_no_two_classes_have_one_label(value, tmp_path):
    value["task"]["labels"][3] = value["task"]["labels"][1]
    with pytest.raises(ManifestError, match=f"two classes have the label '{value['task']['labels'][1]}'"):
        read(value, tmp_path)


def test_every_model_has_predictions(value, tmp_path):
    del value["evaluation"]["predictions"]["small"]
    with pytest.raises(ManifestError, match="predictions"):
        read(value, tmp_path)


def test_a_manifest_of_format_1_3_is_read_and_resolved_as_before():
    path = Path(__file__).with_name("manifest-1.3.json")
    manifest = read_manifest(path)
    assert manifest.manifest_version == "1.3"
    assert {(model.precision, model.proof, model.engine.tried) for model in manifest.models.values()} == {
        (None, None, ())
    }
    facts = DeviceFacts(platform="android", ram_bytes=8_000_000_000, cores=8, os_version="34")
    found = resolve(json.loads(path.read_text()), None, facts, ClientState(), now=0)
    assert (found.tier, found.model) == ("midrange", "large")


def test_a_manifest_of_format_1_4_is_read_with_its_samples_and_evaluation():
    manifest = read_manifest(Path(__file__).with_name("manifest-1.4.json"))
    assert manifest.manifest_version == "1.4"
    assert manifest.samples.kind == "images"
    assert set(manifest.evaluation.predictions) == set(manifest.models)
    assert (manifest.floors, manifest.class_images) == ((), None)
    assert {model.needs.load_us for model in manifest.models.values()} == {None}
