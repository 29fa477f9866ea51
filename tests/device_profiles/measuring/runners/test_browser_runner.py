"""Measuring in a real browser without a screen, with the real package onnxruntime-web."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from headless_chromium import PROGRAM, Chromium
from page_client import DIST, as_page, ask, new_runner, register
from quick_networks import QuickEngine, TinySpace, network, write_onnx

import device_profiles.measuring.benchmark as benchmark
import device_profiles.measuring.measure as measure
import device_profiles.measuring.runners.browser as browser_module
from device_profiles.measuring.runner import TimedFile
from device_profiles.measuring.runners import get_runner
from device_profiles.measuring.runners.browser import ENGINE_FILES, BrowserAddress, BrowserRunner
from device_profiles.measuring.runners.page_coordinator import GONE, Timeouts
from exports.engines import get_engine
from factory_base.errors import ConfigError, EngineError
from factory_base.progress import silent

pytestmark = pytest.mark.engines

SHAPE = (3, 24, 24)
ROUNDS = 4

needs_browser = pytest.mark.skipif(
    PROGRAM is None or not DIST,
    reason="needs the Debian package chromium, and MODEL_FACTORY_ONNXRUNTIME_WEB=.../onnxruntime-web/dist from npm",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[TimedFile]:
    """From small to large."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{width}.onnx" for width in (4, 32, 128)]
    for path in paths:
        write_onnx(network(int(path.stem)), SHAPE, path)
    return [TimedFile(path=path, input_shape=SHAPE) for path in paths]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    """One browser for all tests. It finds this machine under the name `phone.test`, too."""
    started = Chromium(tmp_path_factory.mktemp("browser"), "--host-resolver-rules=MAP phone.test 127.0.0.1")
    yield started
    started.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A runner whose page has loaded the files, and the load times."""

    runner: BrowserRunner
    browser: Chromium
    load_us: np.ndarray


@pytest.fixture(scope="module")
def opened(browser, files) -> Iterator[Opened]:
    """One page for several tests."""
    with new_runner() as runner:
        browser.open(runner.url)
        yield Opened(runner=runner, browser=browser, load_us=runner.open(files, 3, 1, seed=7))


# --- in a real browser ---


@needs_browser
@pytest.mark.smoke
def test_a_page_ranks_networks_by_size_and_computes_what_onnxruntime_computes(opened, files) -> None:
    runner = opened.runner
    machine = runner.machine()
    visits = [dict(runner.visit([0, 1, 2])) for _ in range(3)]
    small, middle, large = (np.median([np.median(visit[file]) for visit in visits]) for file in range(3))
    batch = np.random.default_rng(7).standard_normal((1, *SHAPE), dtype=np.float32)
    expected = get_engine("onnxruntime").load(files[2].path, 1).run(batch)
    assert machine.platform == "web"
    assert "Chrom" in machine.processor
    assert machine.engine_version.count(".") == 2
    assert (opened.load_us > 0).all()
    assert 0 < small < middle < large
    np.testing.assert_allclose(runner.output(2), expected.ravel()[:16], rtol=1e-4, atol=1e-5)
    assert len(runner.run_for(0, 0.3)) > 10
    assert runner.peak_memory_bytes(0) is runner.kernel_latency_us(0) is runner.peak(1) is None


@needs_browser
def test_a_hidden_page_measures_nothing_and_both_sides_say_so(opened) -> None:
    browser = opened.browser
    change = "Object.defineProperty(document, 'hidden', {configurable: true, value: %s});"
    change += "document.dispatchEvent(new Event('visibilitychange'))"
    browser.evaluate(change % "true")
    browser.evaluate(f"setTimeout(() => {{ window.text = document.body.innerText; {change % 'false'} }}, 1500)")
    assert len(dict(opened.runner.visit([0, 1, 2]))) == 3
    browser.evaluate("delete document.hidden")
    assert "Paused" in browser.evaluate("window.text")
    assert opened.runner.said[-2:] == [
        "the page is hidden and waits; bring it to the front",
        "the page is visible again",
    ]


@needs_browser
def test_what_ran_while_the_page_was_hidden_is_measured_again(opened) -> None:
    hide_once = "{configurable: true, get: () => ++window.looks == 2}"  # after a visit
    opened.browser.evaluate(f"window.looks = 0; Object.defineProperty(document, 'hidden', {hide_once})")
    assert [file for file, _ in opened.runner.visit([0, 1, 2])] == [0, 1, 2]
    opened.browser.evaluate("delete document.hidden")
    assert opened.browser.evaluate("window.looks") >= 2 * 3 + 2


@needs_browser
def test_the_files_of_another_measurement_are_fetched_and_loaded_anew(opened, files) -> None:
    """Last of the tests that share a page: file 0 is another one from here on."""
    runner = opened.runner
    runner.open(files[::-1], 1, 1, seed=7)
    largest_first = dict(runner.visit([0, 2]))
    batch = np.random.default_rng(7).standard_normal((1, *SHAPE), dtype=np.float32)
    expected = get_engine("onnxruntime").load(files[2].path, 1).run(batch)
    np.testing.assert_allclose(runner.output(0), expected.ravel()[:16], rtol=1e-4, atol=1e-5)
    assert np.median(largest_first[0]) > np.median(largest_first[2])


@needs_browser
def test_files_that_the_page_has_no_room_for_are_loaded_for_each_visit(make_runner, browser, files) -> None:
    runner = make_runner(kept_bytes=0)
    browser.open(runner.url)
    runner.open(files, 0, 1, seed=0)
    found = dict(runner.visit([2, 0, 1]))
    again = dict(runner.visit([0, 1, 2]))
    assert np.median(found[0]) < np.median(found[2])
    assert np.median(again[0]) < np.median(again[2])


@needs_browser
def test_two_threads_run_in_an_isolated_page(make_runner, browser, files) -> None:
    runner = make_runner()
    browser.open(runner.url)
    if runner.machine().cores < 2:
        pytest.skip("the machine has one core")
    runner.open(files, 0, 2, seed=0)
    assert len(dict(runner.visit([0, 2]))) == 2
    assert browser.evaluate("crossOriginIsolated") is True
    assert "Threads\n2" in browser.text()


@needs_browser
def test_a_page_that_is_not_isolated_has_a_coarser_timer_and_one_thread(make_runner, browser, files) -> None:
    runner = make_runner(hosts=("phone.test",))
    browser.open(runner.url.replace("127.0.0.1", "phone.test"))
    runner.open(files, 0, 1, seed=0)
    found = dict(runner.visit([0, 1, 2]))
    assert "the page is not isolated" in runner.said[1]
    assert np.median(found[0]) < np.median(found[2])
    with pytest.raises(EngineError, match=r"2 threads need a page that is isolated.*adb reverse tcp:\d+ tcp:\d+"):
        runner.open(files, 3, 2, seed=0)


@needs_browser
def test_the_page_shows_its_progress_and_when_everything_is_done(make_runner, browser, files) -> None:
    runner = make_runner()
    with runner:
        browser.open(runner.url)
        runner.machine()
        browser.wait_for("document.body.innerText.includes('Waiting')")
        assert "Chrome" in browser.text()
        runner.open(files, 0, 1, seed=0)
        runner.show(10, 20)
        list(runner.visit([0, 1, 2]))
        runner.show(15, 20, "timing")
        list(runner.visit([0, 1, 2]))
        browser.wait_for("document.body.innerText.includes('left')")
        assert 0.7 < browser.evaluate("document.getElementById('share').value") < 1
    browser.wait_for("document.body.innerText.includes('Done')")
    assert "Everything is measured. This page can be closed." in browser.text()


@needs_browser
def test_another_page_continues_where_a_crashed_one_stopped(
    make_runner, browser, files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_module, "REPORT_SECONDS", 0.0)
    runner = make_runner()
    browser.open(runner.url)
    runner.open(files * 4, 0, 1, seed=0)
    visits = runner.visit(range(12))
    first = next(visits)
    browser.crash()
    browser.open(runner.url)
    assert Counter(file for file, _ in [first, *visits]) == Counter(range(12))
    assert "another page continues" in runner.said


@needs_browser
def test_a_reloaded_page_continues(make_runner, browser, files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "REPORT_SECONDS", 0.0)
    runner = make_runner()
    browser.open(runner.url)
    runner.open(files * 4, 0, 1, seed=0)
    visits = runner.visit(range(12))
    first = next(visits)
    browser.reload()
    assert Counter(file for file, _ in [first, *visits]) == Counter(range(12))


class KillsItsBrowser(BrowserRunner):
    """Kills its browser after `last` files; records the files that were measured."""

    def visit(self, order):
        for index, times in super().visit(order):
            self.visited.append(index)
            if len(self.visited) == self.last:
                self.browser.kill()
                # and not before: while a page loads it sends nothing for long
                self._coordinator._timeouts = Timeouts(answer_s=0.5)
            yield index, times


@needs_browser
def test_a_browser_killed_in_mid_round_loses_nothing_and_nothing_is_measured_twice(
    make_runner, browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_module, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(browser_module, "LOADS", 1)
    monkeypatch.setattr(benchmark, "SUSTAINED_SECONDS", 0.1)
    monkeypatch.setattr(measure, "NOISE_LIMIT", 10.0)
    monkeypatch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)
    space, plan, folder = TinySpace(4, 8, 16), measure.Plan(networks=6, held_out=2, rounds=ROUNDS), tmp_path / "m"
    today = date(2026, 11, 30)

    def run(runner: BrowserRunner, chromium: Chromium, last: int | None) -> measure.MeasuredHost:
        runner.visited, runner.last, runner.browser = [], last, chromium
        chromium.open(runner.url)
        return measure.measure_host(
            space, QuickEngine(), plan, folder=folder, progress=silent, today=today, runner=runner
        )

    first, second = make_runner(kind=KillsItsBrowser), make_runner(kind=KillsItsBrowser)
    with pytest.raises(EngineError, match=GONE):
        run(first, Chromium(tmp_path / "browser"), last=8 + 4)
    (path,) = folder.glob("*/rounds-*.json")
    kept = json.loads(path.read_text())
    assert len(kept["rounds"]) == 1
    assert 4 <= len(kept["unfinished"]) < 8
    profile = run(second, browser, last=None).profile
    measured = json.loads(path.read_text())["rounds"]
    assert measured[0] == kept["rounds"][0]
    assert all(measured[1]["networks"][index] == times for index, times in kept["unfinished"])
    assert len(first.visited) + len(second.visited) == ROUNDS * 8
    assert profile.engine == "onnxruntime"
    assert profile.selectors.platform == "web"
    assert profile.costs.peak is None
    assert "Chrom" in profile.costs.machine


@needs_browser
def test_a_file_that_the_engine_refuses_is_named(make_runner, browser, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    runner = make_runner()
    browser.open(runner.url)
    with pytest.raises(EngineError, match=r"broken.onnx: ONNX Runtime Web cannot run the file \("):
        runner.open([TimedFile(path=tmp_path / "broken.onnx", input_shape=SHAPE)], 1, 1, seed=0)


# --- which pages are registered ---


def test_another_browser_is_refused_and_the_first_one_continues(make_runner, dist) -> None:
    runner = make_runner(dist)
    status, first = register(runner)
    refused, answer = register(runner, user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0")
    assert (status, refused) == (200, 409)
    assert "This run measures Chrome 150 on Linux" in answer["message"]
    assert "but this is Firefox 140 on Linux" in answer["message"]
    assert ask(runner, "POST", "next_job", as_page(first))[0] == 200


def test_the_newest_page_of_a_machine_measures_and_the_older_one_is_refused(make_runner, dist) -> None:
    runner = make_runner(dist)
    older, newer = register(runner)[1], register(runner)[1]
    status, body, _ = ask(runner, "POST", "next_job", as_page(older))
    assert status == 409
    assert "Another page has taken over" in json.loads(body)["message"]
    assert ask(runner, "POST", "next_job", as_page(newer))[0] == 200


def test_a_timer_that_is_too_coarse_is_refused(make_runner, dist) -> None:
    status, answer = register(make_runner(dist), timer_us=100_000)
    assert status == 409
    assert "steps of 100 ms; at most 5 ms can be used" in answer["message"]


def test_a_page_that_is_never_opened_and_one_that_disappears_have_different_errors(make_runner, dist) -> None:
    runner = make_runner(dist, timeouts=Timeouts(first_page_s=0.2, answer_s=0.5, reload_s=0.2, poll_s=0.1, finish_s=0))
    with pytest.raises(EngineError, match="no page was opened"):
        runner.machine()
    page = register(runner)[1]
    runner.machine()
    assert ask(runner, "POST", "unregister_page", as_page(page))[0] == 200
    with pytest.raises(EngineError, match=GONE):
        next(runner.visit([0]))


# --- the address ---


def test_an_address_is_read() -> None:
    assert BrowserAddress.parse("some/dist,port=9000,lan,host=a.example,host=b") == BrowserAddress(
        folder=Path("some/dist"), port=9000, lan=True, hosts=("a.example", "b")
    )
    assert BrowserAddress.parse("dist") == BrowserAddress(folder=Path("dist"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "'browser:' lacks the folder of ONNX Runtime Web; run 'npm install onnxruntime-web'"),
        ("dist,prot=1", "'prot=1' is not an option of .*did you mean 'port'?"),
        ("dist,port=x", "'port=x' is not a port; choose 1024 to 65535"),
        ("dist,host=a b", "'host=a b' is not the name of a machine; write one such as host="),
        ("dist,port=70000", "'port=70000' is not a port"),
        ("nowhere", "nowhere: is not the folder 'dist' of onnxruntime-web .*npm install onnxruntime-web"),
    ],
)
def test_a_wrong_address_is_one_clear_line(address, words) -> None:
    with pytest.raises(ConfigError, match=words):
        get_runner(f"browser:{address}", get_engine("onnxruntime"))


def test_an_unknown_runner_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"'browzer:dist' does not name a machine to measure; did you mean 'browser'\?"
    ):
        get_runner("browzer:dist", get_engine("onnxruntime"))


def test_a_folder_that_lacks_a_file_is_refused_with_its_name(dist) -> None:
    (dist / ENGINE_FILES[2]).unlink()
    with pytest.raises(ConfigError, match=rf"\({ENGINE_FILES[2]} missing\)"):
        get_runner(f"browser:{dist}", get_engine("onnxruntime"))


def test_files_of_another_engine_are_refused(dist) -> None:
    with pytest.raises(EngineError, match="a page runs files of engine 'onnxruntime', not of 'mnn'"):
        get_runner(f"browser:{dist}", get_engine("mnn"))


def test_a_port_in_use_is_named(make_runner, dist) -> None:
    port = urlsplit(make_runner(dist).url).port
    with pytest.raises(EngineError, match=rf"port {port} cannot be used \(Address already in use\); choose another"):
        get_runner(f"browser:{dist},port={port}", get_engine("onnxruntime"))
