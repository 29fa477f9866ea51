"""`factory profile --modelled` on the command line, and energies in a search."""

from __future__ import annotations

import json

import pytest

from device_profiles.modelling.soc import SHEETS_FOLDER
from device_profiles.profile import SHIPPED_FOLDER, DeviceProfile, find_profile
from device_profiles.profile_writer import write_profile
from factory_base.documents import load_document


def test_a_shipped_sheet_gives_the_shipped_profile_and_is_explained(factory, empty_app):
    answer = factory(empty_app, "profile", "--modelled", "midrange", "--output", "x.yaml", "--quiet")
    assert answer.code == 0, answer.err
    assert (empty_app / "x.yaml").read_bytes() == (SHIPPED_FOLDER / "midrange.yaml").read_bytes()
    for words in ("Chip: MediaTek Dimensity 700", "cpu.clock_ghz: 2.2, published", "latency        modelled"):
        assert words in answer.out
    assert "x.yaml: written; use it with `factory search --device x.yaml`" in answer.out


def test_the_profile_of_a_users_own_sheet_is_written_beside_the_config(factory, empty_app):
    text = (SHEETS_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (empty_app / "mine.yaml").write_text(text.replace("name: midrange", "name: lab_phone"), encoding="utf-8")
    assert factory(empty_app, "profile", "--modelled", "mine.yaml", "--quiet").code == 0
    assert find_profile("lab_phone", empty_app).profile.name == "lab_phone"


def test_the_host_takes_a_second_and_never_replaces_what_was_measured(factory, empty_app):
    answer = factory(empty_app, "profile", "--modelled", "host", "--quiet")
    assert answer.code == 0, answer.err
    assert "cpu.gmacs_per_s: " in answer.out
    path = empty_app / "profiles" / "host.yaml"
    assert find_profile("host", empty_app).profile.latency_provenance in ("modelled", "assumed")
    assert factory(empty_app, "profile", "--modelled", "speaker", "--output", path, "--quiet").code == 0
    text = path.read_text(encoding="utf-8").replace("provenance: modelled", "provenance: measured")
    path.write_text(text.replace("provenance: assumed", "provenance: measured"), encoding="utf-8")
    write_profile(load_document(path, DeviceProfile), path)
    refused = factory(empty_app, "profile", "--modelled", "host", "--quiet")
    assert refused.code == 1
    assert "holds measured latencies; choose another --output, or replace it with --force" in refused.error


def test_an_edited_profile_is_replaced_only_by_force(factory, empty_app):
    arguments = ("profile", "--modelled", "midrange", "--quiet")
    path = empty_app / "profiles" / "midrange.yaml"
    assert factory(empty_app, *arguments).code == 0
    written = path.read_bytes()
    assert factory(empty_app, *arguments).code == 0
    for edited in (written.replace(b"latency: 30 ms", b"latency: 20 ms"), b"# mine\n" + written, b"mine: 1\n", b""):
        assert edited != written
        path.write_bytes(edited)
        refused = factory(empty_app, *arguments)
        assert refused.code == 1
        assert "written by hand, by an earlier version, or edited since; choose another --output" in refused.error
        assert path.read_bytes() == edited
    refused = factory(empty_app, "profile", "--output", path, "--quiet")
    assert "or edited since" in refused.error
    assert factory(empty_app, *arguments, "--force").code == 0
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("midrnge",), "'midrnge' is neither a file nor a shipped sheet; did you mean 'midrange'?"),
        (
            ("midrange", "--threads", "4"),
            "--threads does not go with --modelled, which takes everything from the sheet",
        ),
        (("host", "--networks", "10"), "--networks does not go with --modelled, which times no network; leave it out"),
        (("host", "--threads", "999"), "999 threads cannot be measured on this machine"),
        (("factory.yaml",), "unknown key 'seed'"),
    ],
)
def test_a_wrong_argument_ends_in_one_line_and_leaves_nothing_behind(factory, empty_app, arguments, words):
    answer = factory(empty_app, "profile", "--modelled", *arguments, "--quiet")
    assert answer.code == 1
    assert words in answer.error
    assert [path.name for path in empty_app.iterdir()] == ["factory.yaml"]


def test_a_wrong_unit_in_a_sheet_ends_in_one_line(factory, empty_app):
    text = (SHEETS_FOLDER / "midrange.yaml").read_text(encoding="utf-8")
    (empty_app / "mine.yaml").write_text(text.replace("clock_ghz: {value: 2.2,", "clock_ghz: {value: 2200,"), "utf-8")
    answer = factory(empty_app, "profile", "--modelled", "mine.yaml", "--quiet")
    assert answer.code == 1
    assert "mine.yaml: 'cpu.clock_ghz': 2200 GHz is implausible" in answer.error


def test_a_search_shows_energies_that_the_profile_states(factory, app):
    shown = factory(app, "search", "--device", "midrange", "--quiet")
    assert "energy (assumed)" in shown.out
    assert " uJ " in shown.out
    value = json.loads(factory(app, "search", "--device", "midrange", "--json", "--quiet").out)
    assert value["energy_provenance"] == "assumed"
    assert value["pick"]["energy_uj"] > 0


def test_a_search_shows_no_energy_if_the_profile_states_none(factory, app):
    assert "energy (" not in factory(app, "search", "--device", "host", "--quiet").out
    value = json.loads(factory(app, "search", "--device", "host", "--json", "--quiet").out)
    assert value["energy_provenance"] is None
    assert value["pick"]["energy_uj"] is None
