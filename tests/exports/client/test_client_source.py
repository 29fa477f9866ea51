"""Where the client in Python reads from, and what it remembers: details that are not a part of the contract."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request

import pytest
from hostile_server import serving

from exports.client.python import source, state
from exports.client.python.records import BlacklistEntry, ProofRecord
from exports.client.python.source import FolderSource, HttpSource, RangeError, SourceError, source_of
from exports.client.python.state import MAX_PROOFS, State, decode_state


@pytest.fixture
def server(tmp_path):
    (tmp_path / "file.bin").write_bytes(bytes(range(200)))
    (tmp_path / "manifest.json").write_text("{}")
    with serving(tmp_path) as found:
        yield found


def content(body):
    return body.start, b"".join(body.pieces)


@pytest.mark.parametrize("kind", ["folder", "http"])
def test_a_range_has_both_ends(server, kind):
    found = FolderSource(server.folder) if kind == "folder" else HttpSource(server.url, 5)
    assert found.manifest(10) == b"{}"
    assert content(found.open("file.bin", 200)) == (0, bytes(range(200)))
    assert content(found.open("file.bin", 200, 150)) == (150, bytes(range(150, 200)))
    assert content(found.open("file.bin", 200, 0, 0)) == (0, b"\0")
    assert content(found.open("file.bin", 200, 20, 29)) == (20, bytes(range(20, 30)))


@pytest.mark.parametrize("kind", ["folder", "http"])
def test_another_size_is_found_before_anything_is_read(server, kind):
    found = FolderSource(server.folder) if kind == "folder" else HttpSource(server.url, 5)
    with pytest.raises(SourceError, match=r"200 bytes.*expected 199"):
        found.open("file.bin", 199)


def test_the_total_of_a_range_must_be_the_size(server):
    with pytest.raises(RangeError, match="another range"):
        HttpSource(server.url, 5).open("file.bin", 250, 10, 19)


@pytest.mark.parametrize(("fault", "final"), [("missing", True), ("broken", False), ("redirect_for_ever", True)])
def test_some_answers_are_final(server, fault, final):
    server.faults["file.bin"] = fault
    with pytest.raises(SourceError) as caught:
        HttpSource(server.url, 5).open("file.bin", 200)
    assert (caught.value.final, caught.value.answered) == (final, True)


@pytest.mark.parametrize("fault", ["drips_header", "drips_chunk"])
def test_a_server_that_sends_a_byte_now_and_then_does_not_keep_the_app_for_ever(server, fault):
    server.faults["file.bin"] = fault
    start = time.monotonic()
    with pytest.raises(SourceError, match="timed out"):
        content(HttpSource(server.url, 0.3).open("file.bin", 200))
    assert time.monotonic() - start < 5


def test_a_slow_body_may_take_longer_than_the_timeout(server):
    (server.folder / "file.bin").write_bytes(b"slowly..")
    server.faults["file.bin"] = "drips"
    assert content(HttpSource(server.url, 0.3).open("file.bin", 8)) == (0, b"slowly..")


def test_a_redirect_that_loses_the_encryption_is_refused():
    request = urllib.request.Request("https://example.org/manifest.json")
    redirects = source._Redirects()
    for place in ("http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="another protocol"):
            redirects.redirect_request(request, None, 302, "", http.client.HTTPMessage(), place)
    assert redirects.redirect_request(request, None, 302, "", http.client.HTTPMessage(), "https://example.org/x")


def test_a_url_may_name_the_manifest(tmp_path):
    assert source_of(f"{tmp_path}/manifest.json", 1) == source_of(f"{tmp_path}/", 1) == FolderSource(tmp_path)
    assert isinstance(source_of("HTTP://127.0.0.1/", 1), HttpSource)


def proof(number, result="passed", starts=1):
    return ProofRecord(
        files=(f"{number:064x}",), compute_unit="cpu", engine="onnxruntime", engine_version="1.2", os_version=None,
        result=result, starts=starts,
    )  # fmt: skip


def test_the_state_is_read_as_it_was_written():
    made = State(
        slot="b", release=7, installed=frozenset({"a" * 64}), proofs=(proof(1), proof(2, "started", 2)),
        blacklist=(BlacklistEntry(sha256="b" * 64), BlacklistEntry(sha256="c" * 64, until=5)),
        policy={"policy_version": "1.0"},
    )  # fmt: skip
    assert decode_state(made.encode()) == made


def test_entries_that_are_not_understood_are_left_out():
    value = json.loads(State(proofs=(proof(1),)).encode())
    value["proofs"] += [5, {}, value["proofs"][0] | {"result": "happy"}, value["proofs"][0] | {"starts": -1}]
    value |= {"slot": "c", "release": -1, "installed": [5, "x"], "blacklist": [{"until": 5}, "x"], "newer": 1}
    assert decode_state(json.dumps(value).encode()) == State(proofs=(proof(1),), installed=frozenset({"x"}))


def test_proofs_replace_those_with_their_key_and_the_oldest_go():
    made = State()
    for number in range(MAX_PROOFS + 5):
        made = made.with_proof(proof(number), "started")
    made = made.with_proof(made.started(proof(10)), "started")
    assert [int(p.files[0], 16) for p in made.proofs] == [*range(5, 10), *range(11, MAX_PROOFS + 5), 10]
    assert (made.proofs[-1].starts, made.started(proof(10)).starts, made.started(proof(1)).starts) == (2, 3, 1)
    assert made.with_proof(proof(10), "wrong").started(proof(10)).starts == 1
    assert len(made.encode()) < state.MAX_STATE_BYTES // 4


def test_nobody_at_an_address_is_said_in_words():
    with pytest.raises(SourceError, match=r"^no answer for manifest\.json: Connection refused$"):
        HttpSource("http://127.0.0.1:1", 5).manifest(10)
