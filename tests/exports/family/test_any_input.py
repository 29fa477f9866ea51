"""Whatever is in a family's files and whatever a device reports: an answer, or one short line. Never a traceback."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil

import numpy as np
from family_files import sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports.client.python import cli, images
from exports.client.python.records import ClientState, DeviceFacts
from exports.client.python.resolver import UnusableManifestError, UnusablePolicyError, resolve
from exports.client.python.selector_rules import KEYS, RAM_CLASSES_MIB, ram_class_mib, selector_fault
from exports.client.python.strict_json import parse_json
from exports.family.manifest import EXAMPLE_MANIFEST, decode_json, parse_manifest, reference_faults
from exports.family.npy import npy_bytes, read_answers
from exports.family.records import Manifest
from exports.family.samples import decode_png, png_bytes
from exports.family.verify_samples import _expected
from factory_base.errors import ManifestError

EXAMPLE = json.loads(EXAMPLE_MANIFEST.read_text(encoding="utf-8"))
PNG = png_bytes(np.random.default_rng(0).integers(0, 255, (6, 5, 3)).astype(np.uint8))
NPY = npy_bytes(np.arange(40))

some = settings(
    derandomize=True, deadline=None, database=None, max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "android", "1.20.0", "../x", "\x1b[31m\n", "9" * 5000, "ram_class_min", "any", "small"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
versions = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
facts = st.builds(
    DeviceFacts,
    platform=st.sampled_from(["android", "ios", "linux", ""]),
    ram_bytes=st.none() | st.integers(0, 1 << 40),
    cores=st.none() | st.integers(0, 200),
    os_version=st.none() | versions | st.text(max_size=8) | st.just("9" * 5000),
    soc_maker=st.none() | st.sampled_from(["acme", "Other"]),
    soc_model=st.none() | st.sampled_from(["x1", "X2"]),
    free_disk_bytes=st.none() | st.integers(0, 1 << 40),
    available_memory_bytes=st.none() | st.integers(0, 1 << 40),
    engine=st.none() | st.sampled_from(["onnxruntime", "mnn"]),
    engine_version=st.none() | versions | st.text(max_size=8),
)


def places(value, path=()):
    """The path of every value below `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


@st.composite
def changed(draw, value, top=None):
    """A copy of `value` in which one to three places, below the key `top` if it is given, hold something else."""
    made = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = [path for path in places(made) if top is None or path[0] == top]
        path = draw(st.sampled_from(found or [(next(iter(made)),)]))
        place = made
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = draw(values)
    return made


@st.composite
def damaged(draw, data):
    """`data` with some bytes changed, cut off or repeated."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        made[draw(st.integers(0, len(made) - 1))] = draw(st.integers(0, 255))
    at = draw(st.integers(0, len(made)))
    return bytes(draw(st.sampled_from([made, made[:at], made + made[:at]])))


def attempt(refusal, call, *arguments):
    """What the call returns and "", or None and the message of a refusal."""
    try:
        return call(*arguments), ""
    except refusal as error:
        return None, str(error) or "without a message"


@some
@given(values | changed(EXAMPLE) | changed(EXAMPLE, "tiers") | changed(EXAMPLE, "models"), facts)
def test_a_manifest_resolves_or_is_refused_in_one_short_line(manifest, device):
    found, refused = attempt(UnusableManifestError, resolve, manifest, None, device, ClientState(), 0)
    if refused:
        assert len(refused) < 200
        return
    assert found.tier in [tier.get("id") for tier in manifest["tiers"] if isinstance(tier, dict)]
    assert (found.model is None) == (found.action != "model")
    assert found.model is None or found.model in manifest["models"]
    assert found.reasons[-1].code in ("chosen", "floor", "nothing_runs")


POLICY = {"policy_version": "1.0", "critical": [], "revoked": [{"sha256": "0" * 64}]}
PROOF = {"files": ["0" * 64], "compute_unit": "cpu", "engine": "mnn", "result": "started", "starts": 1}
STATE = {"installed": ["0" * 64], "blacklist": [{"sha256": "0" * 64, "until": 9}], "proofs": [PROOF]}
FACTS = {"platform": "android", "probe": {"id": "p", "score": 1}, "features": ["a"], "compute_units": ["cpu"]}


@some
@given(values | changed(POLICY), values | changed(FACTS), values | changed(STATE), st.integers(0, 9))
def test_policies_facts_and_states_of_any_form_give_an_answer_or_a_refusal_in_one_short_line(policy, given, known, now):
    device, state = DeviceFacts.from_json(given), ClientState.from_json(known)
    assert device.plausible() == device
    found, refused = attempt(UnusablePolicyError, resolve, EXAMPLE, policy, device, state, now)
    assert len(refused) < 200
    assert found is None or found.model in EXAMPLE["models"]


@some
@given(st.dictionaries(st.sampled_from([*KEYS, "bench_min"]), values, max_size=3) | values, facts)
def test_a_selector_of_any_form_costs_at_most_its_own_tier(selector, device):
    model = {
        "files": [{"sha256": "0" * 64, "bytes": 1}],
        "engine": {"name": "onnxruntime", "min": "1.0", "max_tested": "2.0"},
        "needs": {"disk_bytes": 1, "peak_memory_bytes": 1},
    }
    floor = {"id": "floor", "platform": "any", "rank": 0, "match": [], "models": ["m"]}
    newer = {"id": "newer", "platform": "any", "rank": 2, "match": [selector], "models": ["m"]}
    known = {"id": "known", "platform": "any", "rank": 1, "match": [{}], "models": ["m"]}
    manifest = {"manifest_version": "1.9", "tiers": [floor, newer, known], "models": {"m": model}}
    device = DeviceFacts(platform=device.platform, ram_bytes=device.ram_bytes, os_version=device.os_version)
    found = resolve(manifest, None, device, ClientState(), now=0)
    assert found.tier in ("newer", "known")
    if not isinstance(selector, dict) or "bench_min" in selector:
        assert found.tier == "known"


@some
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "ram_class_min": st.sampled_from(RAM_CLASSES_MIB),
            "ram_class_max": st.sampled_from(RAM_CLASSES_MIB),
            "cores_min": st.integers(1, 16),
            "os_min": versions,
            "platforms": st.lists(st.sampled_from(["android", "ios"]), max_size=2),
        },
    ),
    st.integers(1, 1 << 37), st.integers(1, 16), versions,
)  # fmt: skip
def test_a_selector_holds_if_each_of_its_keys_does(selector, ram, cores, version):
    def numbers(text):
        parts = [int(part) for part in text.split(".")]
        return parts + [0] * (3 - len(parts))

    expected = {
        "ram_class_min": lambda wanted: ram_class_mib(ram) >= wanted,
        "ram_class_max": lambda wanted: ram_class_mib(ram) < wanted,
        "cores_min": lambda wanted: cores >= wanted,
        "os_min": lambda wanted: numbers(version) >= numbers(wanted),
        "platforms": lambda wanted: "android" in wanted,
    }
    device = DeviceFacts(platform="android", ram_bytes=ram, cores=cores, os_version=version)
    fault = selector_fault(selector, device)
    assert (fault is None) == all(expected[key](wanted) for key, wanted in selector.items())


@some
@given(changed(EXAMPLE).map(lambda value: json.dumps(value).encode()) | damaged(json.dumps(EXAMPLE).encode()))
def test_a_manifest_is_read_or_refused_and_the_client_reads_json_by_the_same_rules(data):
    read, refused = attempt(ManifestError, decode_json, data, "x")
    clients, refused_too = attempt(ValueError, parse_json, data, "x")
    assert refused.isprintable()
    assert (clients, bool(refused_too)) == (read, bool(refused))
    manifest, refused = attempt(ManifestError, parse_manifest, data, "x")
    assert refused.isprintable()
    assert len(refused) < 1000
    assert refused or all(isinstance(fault, str) for fault in reference_faults(manifest))


@some
@given(damaged(NPY) | st.binary(max_size=200))
def test_an_array_is_as_long_as_its_file_or_is_refused(data):
    found, refused = attempt(ManifestError, read_answers, data, "x", "classes")
    assert refused or (found.dtype == np.uint16 and 2 * len(found) < len(data))


@some
@given(damaged(PNG) | st.binary(max_size=200))
def test_an_image_has_the_size_that_was_asked_for_or_is_refused(data):
    with contextlib.suppress(ManifestError):
        assert decode_png(data, (6, 5), "x").shape == (6, 5, 3)
    with contextlib.suppress(ValueError):
        assert images.decode_png(data).ndim == 3


@some
@given(values | changed({"logits_micro": [[1, 2], [3, 4]], "top1": [1, 1], "tolerance_micro": 1000}))
def test_expected_outputs_have_the_shape_of_the_task_or_are_refused(outputs):
    model = Manifest.model_validate_json(json.dumps(EXAMPLE)).models["small"]
    test = model.selftest.model_copy(update={"samples": 2, "tolerance_micro": 1000})
    model = model.model_copy(update={"selftest": test})
    with contextlib.suppress(ManifestError):
        found = _expected(outputs, model, 2, 2)
        assert (found.logits_micro.shape, found.top1.shape, found.tolerance_micro) == ((2, 2), (2,), 1000)


def test_the_client_ends_with_an_answer_or_in_one_line(make_family, tmp_path):
    folder = make_family()
    value = json.loads((folder / "manifest.json").read_text())
    rest = ["--store", str(tmp_path / "store"), "--image", str(sample(folder))]

    @settings(some, max_examples=25)
    @given(changed(value) | changed(value, "task") | changed(value, "models") | values)
    def check(manifest):
        (folder / "manifest.json").write_text(json.dumps(manifest))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            shutil.rmtree(tmp_path / "store", ignore_errors=True)
            _, refused = attempt(SystemExit, cli.main, ["launch", "--url", str(folder), *rest])
        assert not refused or refused.startswith("launch: ")
        assert all(line.isprintable() for line in (*out.getvalue().splitlines(), refused))

    check()
