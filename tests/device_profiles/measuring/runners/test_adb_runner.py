"""Measuring through the real `adb` program, on a fake phone whose benchmark program is a stand-in; see `fake_phone`."""

from __future__ import annotations

import json
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from fake_phone import PROPERTIES, SHELL, AdbServer, FakePhone
from quick_networks import QuickEngine, TinySpace, copied, network, write_onnx

import device_profiles.measuring.benchmark as benchmark
import device_profiles.measuring.measure as measure
import device_profiles.measuring.runner as runner_module
import device_profiles.measuring.runners.adb as adb_module
from device_profiles.measuring.runner import LocalRunner, TimedFile
from device_profiles.measuring.runners import get_runner
from device_profiles.measuring.runners.adb import AdbRunner, parse_address
from device_profiles.measuring.runners.adb_client import find_phone
from device_profiles.profile import find_profile
from device_profiles.profile_writer import write_profile
from factory_base.errors import ConfigError, EngineError
from factory_base.progress import silent

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(shutil.which("adb") is None, reason="needs the Debian package adb"),
]

STAND_IN = Path(__file__).with_name("perf_test_stand_in.py")
SHAPE = (3, 16, 16)
NETWORKS, HELD_OUT, ROUNDS = 6, 2, 4
FILES = NETWORKS + HELD_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbSetup:
    """A server of adb, a folder for the storage of the phone, and the benchmark program."""

    server: AdbServer
    folder: Path
    binary: Path

    def phone(self, **options) -> FakePhone:
        """A phone that is attached, and no longer `offline`."""
        phone = FakePhone(self.folder / "phone", **options)
        self.server.adb("disconnect", phone.serial)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.server.adb("connect", phone.serial)
            rows = [line for line in self.server.adb("devices").splitlines() if line.startswith(phone.serial)]
            if rows and "offline" not in rows[0]:
                break
            time.sleep(0.1)
        return phone

    def program(self, body: str) -> Path:
        """A program for the phone, with the given shell script as its body."""
        path = self.folder / "other_program"
        path.write_text(f"#!/bin/sh\n{body}\n")
        return path

    def runner(self, binary: Path | None = None, engine: str = "onnxruntime", more: str = "") -> AdbRunner:
        return AdbRunner(parse_address(f"binary={binary or self.binary},version=1.2.3{more}"), engine)


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    """The address of the process that runs the models."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        process = subprocess.Popen([sys.executable, str(STAND_IN), "serve", address])
        end = time.monotonic() + 60
        while not Path(address).exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield address
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    with AdbServer(tmp_path_factory.mktemp("adb") / "home") as server:
        yield server


@pytest.fixture
def adb(tmp_path: Path, worker: str, adb_server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbSetup]:
    binary = tmp_path / "onnxruntime_perf_test"
    log = tmp_path / "phone" / "runs.log"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {STAND_IN} ask {worker} {log} "$@"\n')
    for name, value in adb_server.environment.items():
        monkeypatch.setenv(name, value)
    yield AdbSetup(server=adb_server, folder=tmp_path, binary=binary)
    adb_server.adb("disconnect")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[TimedFile]:
    """From small to large."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{width}.onnx" for width in (4, 64, 256)]
    for path in paths:
        write_onnx(network(int(path.stem)), SHAPE, path)
    return [TimedFile(path=path, input_shape=SHAPE) for path in paths]


@pytest.fixture(scope="module", autouse=True)
def short_and_tolerant() -> Iterator[None]:
    """Short measurements. Tests share their machine, so noise is accepted; refusing it has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "SUSTAINED_SECONDS", 0.05)
        patch.setattr(measure, "NOISE_LIMIT", 10.0)
        patch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)
        patch.setattr(runner_module, "measure_peak", lambda _: None)
        patch.setattr(adb_module, "LOADS", 1)
        patch.setattr(adb_module, "_SPARE_BYTES", 0)
        yield


def measured(folder: Path, runner, progress=silent) -> measure.MeasuredHost:
    plan = measure.Plan(networks=NETWORKS, held_out=HELD_OUT, rounds=ROUNDS)
    return measure.measure_host(
        TinySpace(8, 32, 64),
        QuickEngine(),
        plan,
        folder=folder,
        progress=progress,
        today=date(2026, 11, 30),
        runner=runner,
    )


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[measure.MeasuredHost, Path]:
    """A measurement of this machine itself, and its folder."""
    folder = tmp_path_factory.mktemp("local")
    return measured(folder, LocalRunner(QuickEngine())), folder


@pytest.mark.smoke
def test_a_phone_is_measured_like_this_machine_and_its_profile_selects_it(adb: AdbSetup, local) -> None:
    here, folder = local
    with adb.phone():
        found = measured(copied(folder, adb.folder / "m"), adb.runner())
    ratios = found.measurements.network_us / here.measurements.network_us
    assert 0.2 < np.median(ratios) < 5
    assert (found.measurements.load_us > 0).all()
    assert found.measurements.peaks == (None,) * FILES
    machine = found.profile.costs.machine
    assert re.fullmatch(r"Acme A1 \(Acme Fake One, [0-9a-f]{4}\), onnxruntime 1\.2\.3, 1 thread", machine)
    write_profile(found.profile, adb.folder / "phone.yaml")
    selectors = find_profile("phone.yaml", adb.folder).profile.selectors
    assert (selectors.platform, selectors.os_min) == ("android", "34")
    assert [(soc.maker, soc.model) for soc in selectors.soc_include] == [("Acme", "A1")]


def test_a_phone_that_vanishes_in_a_round_loses_nothing_and_nothing_is_copied_twice(adb: AdbSetup, local) -> None:
    loads, folder = FILES, copied(local[1], adb.folder / "m")
    with (
        adb.phone(vanish_after=loads + FILES + 6) as phone,
        pytest.raises(EngineError, match=r"is gone \(.*\); plug it in and run the same command again to resume"),
    ):
        measured(folder, adb.runner())
    assert len(phone.pushed) == len(set(phone.pushed)) == FILES + 1
    (path,) = folder.glob("*/rounds-*.json")
    kept = json.loads(path.read_text())
    assert len(kept["rounds"]) == 1
    assert 1 <= len(kept["unfinished"]) <= 6
    with adb.phone(port=phone.port) as again:
        measured(folder, adb.runner())
    assert again.pushed == []
    rounds = json.loads(path.read_text())["rounds"]
    assert rounds[0] == kept["rounds"][0]
    assert all(rounds[1]["networks"][index] == times for index, times in kept["unfinished"])


def test_measured_times_are_reported_before_the_command_ends(adb: AdbSetup, files: list[TimedFile]) -> None:
    with adb.phone() as phone:
        runner = adb.runner()
        runner.open(files, 1, threads=1, seed=0)
        before, visit = phone.runs, runner.visit([2, 0] * 12)
        (file, times), after = next(visit), phone.runs
        assert (file, len(times)) == (2, 7)
        assert after - before < 24
        visit.close()


def test_visits_distinguish_small_files_from_large_ones_and_runs_fill_the_time(
    adb: AdbSetup, files: list[TimedFile]
) -> None:
    with adb.phone():
        runner = adb.runner()
        assert (runner.open(files, 3, threads=1, seed=7) > 0).all()
        times = dict(runner.visit([2, 0, 1]))
        assert np.median(times[0]) < np.median(times[1]) < np.median(times[2])
        assert len(runner.run_for(0, 0.05)) > len(runner.run_for(2, 0.05)) >= 7
        assert (runner.peak_memory_bytes(0), runner.kernel_latency_us(0), runner.peak(1)) == (None, None, None)


def test_a_half_copied_file_is_copied_again(adb: AdbSetup, files: list[TimedFile]) -> None:
    with adb.phone() as phone:
        adb.runner().open(files, 0, threads=1, seed=0)
        largest = max((phone.storage / "model-factory").glob("*.onnx"), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])
        phone.pushed.clear()
        adb.runner().open(files, 3, threads=1, seed=0)
        assert phone.pushed == [f"{largest.name}.partial"]


def test_names_and_masks_are_safe_in_the_shell_of_the_phone(adb: AdbSetup, files: list[TimedFile]) -> None:
    odd = adb.folder / "perf test's; touch owned $(touch owned)"
    shutil.copy(adb.binary, odd)
    with adb.phone() as phone:
        runner = adb.runner(odd, more=",taskset=1")
        assert runner.machine().processor.endswith(", taskset 1")
        runner.open(files, 0, threads=1, seed=0)
        assert len(list(runner.visit([0]))) == 1
        assert not list(phone.folder.rglob("owned"))


def test_two_phones_of_one_model_are_not_confused(adb: AdbSetup) -> None:
    with adb.phone() as phone:
        first = adb.runner().machine()
        phone.set(properties=PROPERTIES | {"ro.serialno": "FAKE2"}, battery=80, thermal_status=0)
        assert adb.runner().machine().processor != first.processor


def test_a_phone_that_reports_little_is_measured_but_selects_no_system_on_a_chip(adb: AdbSetup) -> None:
    with adb.phone() as phone:
        phone.set(properties={"ro.product.model": "Old"}, battery=80, thermal_status=0)
        machine = adb.runner().machine()
    assert machine.processor.startswith("Old, ")
    assert (machine.soc_maker, machine.soc_model, machine.os_version) == ("", "", "")


def test_the_version_is_read_from_a_library_or_has_to_be_stated(adb: AdbSetup) -> None:
    library = adb.folder / "libonnxruntime.so"
    library.write_bytes(b"\x7fELF\0VERS_1.22.0\0")
    with adb.phone():
        address = f"binary={adb.binary},library={library}"
        assert AdbRunner(parse_address(address), "onnxruntime").machine().engine_version == "1.22.0"
    with pytest.raises(ConfigError, match="does not contain its version of onnxruntime; add ,version="):
        AdbRunner(parse_address(f"binary={adb.binary}"), "onnxruntime").machine()


def test_mnn_is_given_its_inputs_in_a_file_and_its_average_is_one_run(adb: AdbSetup, files: list[TimedFile]) -> None:
    said = "main, 265, cost time: 1.500000 ms\nAvg= 0.250000 ms, min= 0.2 ms, max= 0.4 ms"
    program = adb.program(f"[ $# = 0 ] || cat $2/input.json > seen.json; echo $3 $4 $6 $7 > seen.txt; echo '{said}'")
    with adb.phone() as phone:
        runner = adb.runner(program, "mnn")
        assert runner.open(files[:1], 1, threads=3, seed=0).tolist() == [1500.0]
        assert list(runner.visit([0])) == [(0, [250.0])]
        seen = phone.storage / "model-factory"
        assert json.loads((seen / "seen.json").read_text()) == {
            "inputs": [{"name": "image", "value": 0.5, "shape": [1, *SHAPE]}],
            "outputs": ["logits"],
        }
        assert (seen / "seen.txt").read_text().split() == ["0", "0", "3", "0"]


def test_without_a_phone_or_with_two_the_message_says_what_to_do(adb: AdbSetup) -> None:
    with pytest.raises(EngineError, match="no phone is attached; plug one in with USB debugging on"):
        find_phone("")
    with adb.phone() as first, adb.phone() as second:
        with pytest.raises(EngineError, match="2 phones are attached; name one") as caught:
            find_phone("")
        assert first.serial in str(caught.value)
        assert second.serial in str(caught.value)
        answer = find_phone(second.serial).shell("echo hello; exit 3")
        assert (answer.text, answer.code) == ("hello\n", 3)
        with pytest.raises(EngineError, match=f"phone 'other' is not attached; attached: .*{first.serial}"):
            find_phone("other")


def test_a_phone_that_did_not_allow_debugging_is_reported(adb: AdbSetup) -> None:
    with (
        adb.phone(authorised=False),
        pytest.raises(EngineError, match=r"'(unauthorized|authorizing)'; unlock it and allow"),
    ):
        find_phone("")


def test_a_missing_adb_is_reported(adb: AdbSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EngineError, match=r"adb is not installed; .* \(the Debian package is called adb\)"):
        adb.runner().machine()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "echo /system/bin/sh: x: not executable: 64-bit ELF file; exit 126",
            "other_program is not built for this phone, which runs arm64-v8a .*64-bit ELF file",
        ),
        (
            "echo 'CANNOT LINK EXECUTABLE x: library \"libonnxruntime.so\" not found'; exit 1",
            'lacks a library on the phone .*libonnxruntime.so" not found.*; add ,library=FILE',
        ),
        ("kill -SEGV $$", r"does not run on the phone \(exit status 139"),
    ],
)
def test_a_program_that_cannot_run_is_found_out_before_anything_is_converted(
    adb: AdbSetup, body: str, message: str
) -> None:
    with adb.phone(), pytest.raises(EngineError, match=message) as caught:
        adb.runner(adb.program(body)).machine()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHELL.endswith("mksh"), reason="needs the Debian package mksh, the shell of Android")
def test_a_program_for_another_processor_is_reported_in_the_words_of_the_shell_of_android(adb: AdbSetup) -> None:
    machine = 183 if platform.machine() != "aarch64" else 62  # AArch64, x86-64
    program = adb.folder / "elf"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, machine, 1) + bytes(100))
    with (
        adb.phone(),
        pytest.raises(EngineError, match=r"elf is not built for this phone, which runs arm64-v8a .*ELF"),
    ):
        adb.runner(program).machine()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo some; echo nonsense", "printed no times for .*, its last line was 'nonsense'; is it another program"),
        ("[ $# = 0 ] || { echo bad model; exit 255; }", r"failed on .* \(exit status 255\): bad model"),
        ("echo 'P50 Latency: 0.001 s'", "does not report how long a file takes to load"),
    ],
)
def test_a_program_that_prints_no_times_is_reported_in_one_line(
    adb: AdbSetup, files: list[TimedFile], body: str, message: str
) -> None:
    with adb.phone(), pytest.raises(EngineError, match=message) as caught:
        adb.runner(adb.program(body)).open(files, 1, threads=1, seed=0)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_reported_after_a_timeout(
    adb: AdbSetup, files: list[TimedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdbRunner._readings, "__defaults__", (None, 2.0))
    with adb.phone(), pytest.raises(EngineError, match="did not finish a file in 2 s; run the same command again"):
        adb.runner(adb.program("[ $# = 0 ] || sleep 30")).open(files, 1, threads=1, seed=0)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"battery": 80, "thermal_status": 3},
            "is hot and throttles .*; let it cool and run the same command again to resume",
        ),
        ({"battery": 9, "thermal_status": 0}, "has 9% of its battery left; charge it to 20%"),
    ],
)
def test_a_phone_that_would_falsify_times_is_refused_between_rounds(
    adb: AdbSetup, files: list[TimedFile], state: dict[str, int], message: str
) -> None:
    with adb.phone() as phone:
        runner = adb.runner()
        runner.open(files, 0, threads=1, seed=0)
        phone.set(properties=PROPERTIES, **state)
        with pytest.raises(EngineError, match=message):
            list(runner.visit([0]))


def test_a_full_phone_is_reported(adb: AdbSetup, files: list[TimedFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_module, "_SPARE_BYTES", 2**60)
    with (
        adb.phone(),
        pytest.raises(EngineError, match=r"free, but .* have to be copied and .* to stay free; make room"),
    ):
        adb.runner().open(files, 0, threads=1, seed=0)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "does not name the engine's benchmark program; write adb:SERIAL"),
        ("x,binary=missing_program", "missing_program is not a file; name the benchmark program built for the phone"),
        ("-s,binary=b", "'-s' is not the serial number of a phone"),
        ("x,binari=b", "'binari=b' in .* did you mean 'binary'"),
        ("x,binary=b,binary=c", "is unknown, empty or repeated"),
        ("x,binary=b,taskset=f0;reboot", "is not a mask of cores"),
    ],
)
def test_a_faulty_address_is_one_line(
    tmp_path: Path, address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b").touch()
    with pytest.raises(ConfigError, match=message):
        get_runner(f"adb:{address}", QuickEngine())


def test_an_engine_without_a_program_for_phones_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    with pytest.raises(EngineError, match="'mn' has no known program for phones; did you mean 'mnn'"):
        AdbRunner(parse_address(f"binary={tmp_path / 'b'}"), "mn")
