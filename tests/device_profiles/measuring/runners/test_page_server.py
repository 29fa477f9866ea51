"""The server of the measuring page: what it serves and to whom, and messages that our page would not send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from page_client import as_page, ask, facts, files_in, new_runner, register

import device_profiles.measuring.runners.capped_server as capped_server
import device_profiles.measuring.runners.page_server as page_server
from device_profiles.measuring.runner import TimedFile
from device_profiles.measuring.runners.browser import ENGINE_FILES, BrowserAddress, BrowserRunner
from device_profiles.measuring.runners.page_coordinator import Timeouts
from exports.engines import get_engine
from factory_base.errors import EngineError

pytestmark = [pytest.mark.engines, pytest.mark.smoke]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[BrowserRunner]:
    """A runner without a page, with a file beside those of the engine."""
    folder = files_in(tmp_path_factory.mktemp("dist"))
    (folder / "secret").write_text("secret")
    with new_runner(folder, hosts=("phone.test",)) as runner:
        yield runner


@pytest.mark.parametrize("token", ["/", "/abc/", "/../", "//"])
@pytest.mark.parametrize("name", ["", "page.mjs", "model/0/0", f"engine/{ENGINE_FILES[0]}"])
def test_without_the_secret_path_nothing_answers(server, token, name) -> None:
    assert ask(server, "GET", name, token=token)[0] == 404
    assert ask(server, "POST", "register_page", b"{}", token=token)[0] == 404


@pytest.mark.parametrize(
    "name",
    ["../browser.py", "engine/../secret", "engine/secret", "engine/..%2fsecret", "engine//etc/passwd", "model/0/-1",
     "model/0/9", "model/0/0/..", "model/0/0x0", "input/0/7", "%2e%2e/", "page_server.py"],
)  # fmt: skip
def test_only_files_of_this_run_are_served(server, name) -> None:
    assert ask(server, "GET", name)[0] == 404


def test_the_page_and_the_engine_come_with_their_types_and_isolated(server) -> None:
    expected = {
        "": "text/html; charset=utf-8",
        "page.mjs": "text/javascript",
        f"engine/{ENGINE_FILES[2]}": "application/wasm",
    }
    for name, kind in expected.items():
        status, _, headers = ask(server, "GET", name)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("register_page", b"{}", 400),
        ("register_page", b"\xff", 400),
        ("add_results", b'{"page": "x", "job": "1", "results": [{"file": 0, "times_us": [-1]}]}', 400),
        ("add_results", b'{"page": "x", "job": "1", "results": [{"file": 0, "times_us": [NaN]}]}', 400),
        ("add_results", b'{"page": "x", "job": "1", "results": [{"file": 0, "times_us": [1e300]}]}', 400),
        ("add_results", b'{"page": "x", "job": "1", "results": [{"file": 0, "times_us": ["1"]}]}', 400),
        ("add_results", b'{"page": "x", "job": "1", "results": null}', 400),
        ("next_job", b"[" * 100_000, 400),
        ("next_job", b'{"page": "x", "page": "y"}', 400),
        ("heartbeat", b'{"page": "x", "hidden": 1}', 400),
        ("next_job", b'{"page": "x"}', 409),
        ("nothing", b"{}", 404),
    ],
)
def test_requests_that_make_no_sense_are_answered_and_change_nothing(server, name, body, status) -> None:
    assert ask(server, "POST", name, body)[0] == status
    assert register(server)[0] == 200


def test_long_bodies_are_not_read(server) -> None:
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(
            f"POST {url.path}register_page HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_it_serves_this_machine_alone_and_warns_where_it_does_not(make_runner, dist) -> None:
    assert urlsplit(make_runner(dist).url).hostname == "127.0.0.1"
    said: list[str] = []
    timeouts = Timeouts(first_page_s=0.1)
    address = BrowserAddress(folder=dist, port=0, lan=True)
    with BrowserRunner(address, get_engine("onnxruntime"), timeouts=timeouts, notify=said.append) as runner:
        with pytest.raises(EngineError, match="no page was opened"):
            runner.machine()
        assert runner.url in said[0]
    assert "warning: everyone in the network who knows this address" in said[1]


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:1", 200), ("[::1]", 200), ("192.168.1.7", 200), ("localhost:80", 200), ("PHONE.test", 200),
     ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("", 403), ("a b", 403), ("[::1", 403)],
)  # fmt: skip
def test_a_name_that_another_site_may_have_rebound_to_this_machine_is_refused(server, host, status) -> None:
    for method, name in (("GET", "page.mjs"), ("POST", "register_page")):
        answer = ask(server, method, name, json.dumps(facts()).encode(), headers={"Host": host})
        assert answer[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:8", "Host": "127.0.0.1:8"}, 200),
        ({"Origin": "https://phone.test", "Host": "127.0.0.1"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9", "Host": "127.0.0.1:8"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_send_results(server, headers, status) -> None:
    body = json.dumps(facts()).encode()
    assert ask(server, "POST", "register_page", body, headers=headers)[0] == status


def connections(runner: BrowserRunner, count: int, sent: bytes = b"") -> list[socket.socket]:
    url = urlsplit(runner.url)
    made = [socket.create_connection((url.hostname, url.port), timeout=10) for _ in range(count)]
    for connection in made:
        connection.sendall(sent)
    return made


@pytest.mark.parametrize("sent", [b"", b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_silent_and_slow_clients_make_room_for_the_page(make_runner, dist, sent, monkeypatch) -> None:
    monkeypatch.setattr(capped_server, "MOST_CONNECTIONS", 4)
    runner = make_runner(dist)
    waiting = connections(runner, 12, sent)
    assert register(runner)[0] == 200
    assert waiting[0].recv(1) == b""
    for connection in waiting:
        connection.close()


def test_a_client_that_does_not_finish_its_request_is_cut_off(make_runner, dist, monkeypatch) -> None:
    monkeypatch.setattr(page_server, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(page_server, "BODY_SECONDS", 0.1)
    runner = make_runner(dist)
    path = urlsplit(runner.url).path
    head = f"POST {path}register_page HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{{".encode()
    for sent in (b"POST ", head):
        (connection,) = connections(runner, 1, sent)
        assert connection.recv(1) == b""
        connection.close()


def opened_without_engine(make_runner, dist, **timeouts) -> BrowserRunner:
    """A runner that has a page and two files, of which none is loaded."""
    runner = make_runner(dist, timeouts=Timeouts(poll_s=0.1, finish_s=0, **timeouts))
    runner.page = register(runner)[1]
    runner.open([TimedFile(path=dist / name, input_shape=(2,)) for name in ENGINE_FILES[:2]], 0, 1, seed=0)
    return runner


def test_an_address_never_means_the_file_of_another_measurement(make_runner, dist) -> None:
    runner = opened_without_engine(make_runner, dist)
    assert ask(runner, "GET", "model/1/0")[1] == ENGINE_FILES[0].encode()
    runner.open([TimedFile(path=dist / ENGINE_FILES[1], input_shape=(2,))], 0, 1, seed=1)
    assert ask(runner, "GET", "model/2/0")[1] == ENGINE_FILES[1].encode()
    assert [ask(runner, "GET", name)[0] for name in ("model/1/0", "input/1/0", "input/2/0")] == [404, 404, 200]


def test_times_of_a_file_that_is_not_to_be_measured_are_refused_and_reported(make_runner, dist) -> None:
    runner = opened_without_engine(make_runner, dist, answer_s=1)
    with ThreadPoolExecutor() as pool:
        visits = pool.submit(lambda: list(runner.visit([0])))
        job = json.loads(ask(runner, "POST", "next_job", as_page(runner.page))[1])
        results = {"page": runner.page["page"], "job": job["job"], "results": [{"file": 1, "times_us": [5]}]}
        assert ask(runner, "POST", "add_results", json.dumps(results).encode())[0] == 409
        assert isinstance(visits.exception(timeout=20), EngineError)
    assert "refused: times of file 1, which is not to be measured" in runner.said[-1]


def test_what_a_page_says_reaches_the_terminal_as_one_line_without_control_characters(make_runner, dist) -> None:
    runner = opened_without_engine(make_runner, dist, answer_s=20)
    with ThreadPoolExecutor() as pool:
        visits = pool.submit(lambda: list(runner.visit([0])))
        job = json.loads(ask(runner, "POST", "next_job", as_page(runner.page))[1])
        failure = {"page": runner.page["page"], "job": job["job"], "file": 0, "message": "\x1b[31mred\nline\u202e"}
        assert ask(runner, "POST", "report_failure", json.dumps(failure).encode())[0] == 200
        assert str(visits.exception(timeout=20)).endswith(r"cannot run the file (\x1b[31mred\nline\u202e)")
