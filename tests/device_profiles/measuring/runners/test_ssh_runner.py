"""Measuring on a board over SSH: a real server on loopback, the real client, the real engine."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from quick_networks import QuickEngine, TinySpace, copied, network, write_onnx

import device_profiles.measuring.benchmark as benchmark
import device_profiles.measuring.host_peak as host_peak
import device_profiles.measuring.measure as measure
from device_profiles.measuring.runner import LocalRunner, TimedFile
from device_profiles.measuring.runners import get_runner
from device_profiles.measuring.runners.ssh import SshAddress, SshRunner
from exports.engines import get_engine
from factory_base.errors import ConfigError, EngineError
from factory_base.progress import silent

pytestmark = [pytest.mark.engines, pytest.mark.smoke]

ROUNDS = 4
NETWORKS = 8
PLAN = measure.Plan(networks=NETWORKS - 2, held_out=2, rounds=ROUNDS)
SOON = (0.1, 0.2, 0.4)
SHAPE = (3, 16, 16)
SPACE = TinySpace(8, 16, 32, depthwise=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[TimedFile]:
    folder = tmp_path_factory.mktemp("files")
    for width in (4, 8, 12):
        write_onnx(network(width, depthwise=True), SHAPE, folder / f"{width}.onnx")
    return [TimedFile(path=folder / f"{width}.onnx", input_shape=SHAPE) for width in (4, 8, 12)]


@pytest.fixture
def runner(ssh_board) -> Iterator[SshRunner]:
    with SshRunner(ssh_board.where(), "onnxruntime", retry_pauses_s=SOON) as made:
        yield made


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Short measurements on a machine that is shared with other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "SUSTAINED_SECONDS", 0.05)
        patch.setattr(host_peak, "ATTEMPTS", 2)
        patch.setattr(host_peak, "_SECONDS", 0.0)
        patch.setattr(host_peak, "COPIED_BYTES", 2**26)
        patch.setattr(measure, "NOISE_LIMIT", 10.0)
        patch.setattr(measure, "SLOWDOWN_LIMIT", 100.0)
        yield


def measured(runner, folder: Path) -> measure.MeasuredHost:
    today = date(2026, 11, 30)
    return measure.measure_host(SPACE, QuickEngine(), PLAN, folder=folder, progress=silent, today=today, runner=runner)


@pytest.fixture(scope="module")
def local(quick, tmp_path_factory) -> tuple[measure.MeasuredHost, Path]:
    """A measurement of this machine itself, and its folder."""
    del quick
    folder = tmp_path_factory.mktemp("local")
    return measured(None, folder), folder


def test_a_whole_measurement_agrees_with_that_of_the_machine_itself(runner, local, tmp_path):
    here, folder = local
    there = measured(runner, copied(folder, tmp_path / "ssh"))
    assert there.profile.costs.machine == here.profile.costs.machine
    assert there.profile.selectors.ram_class_min == here.profile.selectors.ram_class_min
    ratios = there.measurements.network_us / here.measurements.network_us
    assert 1 / 3 < np.median(ratios) < 3
    assert there.measurements.peaks == here.measurements.peaks
    for ours, theirs in zip(here.measurements.kernels_us, there.measurements.kernels_us, strict=True):
        assert ours.keys() == theirs.keys()
    assert (there.measurements.load_us > 0).all()
    assert there.profile.costs.peak.gmacs_per_s > 0.1


def test_the_machine_says_what_it_is_and_keeps_no_connection(runner, ssh_board):
    machine = runner.machine()
    local = LocalRunner(get_engine("onnxruntime")).machine()
    assert (machine.processor, machine.ram_bytes) == (local.processor, local.ram_bytes)
    assert machine.engine_version == local.engine_version
    assert 1 <= machine.cores <= local.cores
    assert not ssh_board.files.exists()


def copies(ssh_board) -> dict[str, tuple[int, bytes]]:
    """The number and the content of each copied file by its name."""
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in ssh_board.files.iterdir()}


def test_a_file_is_copied_once_for_all_measurements_and_again_if_its_copy_is_damaged(runner, ssh_board, files):
    load_us = runner.open(files, 3, 1, 0)
    before = copies(ssh_board)
    assert len(before) == len(files) == len(load_us)
    damaged = next(ssh_board.files.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:100])
    runner.close()
    with SshRunner(ssh_board.where(), "onnxruntime") as again:
        again.open(files, 0, 1, 0)
    after = copies(ssh_board)
    assert {name: content for name, (_, content) in after.items()} == {n: content for n, (_, content) in before.items()}
    assert {name for name in after if after[name] != before[name]} == {damaged.name}


def test_a_connection_that_is_lost_in_a_round_is_made_again_and_nothing_is_timed_twice(
    runner, ssh_board, files, caplog
):
    runner.open(files, 0, 1, 0)
    order, visited = [0, 1, 2] * 400, []
    for index, times in runner.visit(order):
        visited.append(index)
        assert 3 <= len(times) <= 50
        if len(visited) in (5, 300):
            ssh_board.cut()
    assert visited == order
    assert caplog.text.count("attempt 1 to reach it again") == 2
    assert len(runner.run_for(0, 0.05)) > 1


class Counted:
    """A runner whose board is unplugged after so many visits."""

    def __init__(self, runner: SshRunner, unplug, after: int) -> None:
        self._runner, self._unplug, self._after = runner, unplug, after
        self.visits = 0

    def __getattr__(self, name: str):
        return getattr(self._runner, name)

    def visit(self, order):
        for result in self._runner.visit(order):
            self.visits += 1
            if self.visits == self._after:
                self._unplug()
            yield result


def test_a_board_that_is_unplugged_loses_nothing_and_the_same_call_resumes(runner, ssh_board, local, tmp_path):
    folder = copied(local[1], tmp_path / "ssh")
    unplugged = Counted(runner, ssh_board.stop, 2 * NETWORKS + 3)
    with pytest.raises(
        EngineError, match=r"^ssh:board,.* is gone \(.*3 attempts .*; run the same command again to resume$"
    ):
        measured(unplugged, folder)
    assert unplugged.visits >= 2 * NETWORKS + 3
    ssh_board.start()
    rest = Counted(runner, ssh_board.stop, -1)
    measured(rest, folder)
    assert unplugged.visits + rest.visits == ROUNDS * NETWORKS


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended keeps its identifier until its parent asks for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_program_that_hangs_is_ended_and_started_again(ssh_board, files):
    order, visited = [0, 1, 2] * 400, []
    with SshRunner(ssh_board.where(), "onnxruntime", timeout_s=4, retry_pauses_s=SOON) as runner:
        runner.open(files, 0, 1, 0)
        hanging = ssh_board.program()
        for index, _ in runner.visit(order):
            if not visited:
                os.kill(hanging, signal.SIGSTOP)
            visited.append(index)
        assert visited == order
        assert ssh_board.program() != hanging
        assert not runs(hanging)


def test_a_visit_that_nobody_follows_to_its_end_disturbs_no_later_request(runner, files, caplog):
    with caplog.at_level(logging.WARNING):
        runner.open(files, 0, 1, 0)
        for _ in runner.visit([0, 1, 2]):
            break
        assert [index for index, _ in runner.visit([2, 1])] == [2, 1]
    assert not caplog.records


def test_a_file_that_the_engine_refuses_is_named(runner, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(EngineError, match=r"^ssh:board.*broken.onnx: the engine refuses the file \("):
        runner.open([TimedFile(path=tmp_path / "broken.onnx", input_shape=SHAPE)], 1, 1, 0)


def test_files_of_mnn_are_timed_too(ssh_board, tmp_path):
    pytest.importorskip("MNN")
    engine = get_engine("mnn")
    engine.convert(network(8), SHAPE, tmp_path / "net.mnn")
    timed = [TimedFile(path=tmp_path / "net.mnn", input_shape=SHAPE)]
    local = LocalRunner(engine)
    local.open(timed, 1, 1, 0)
    with SshRunner(ssh_board.where(), "mnn") as runner:
        assert runner.machine().engine_version == engine.version()
        assert runner.open(timed, 1, 1, 0) > 0
        assert [index for index, _ in runner.visit([0, 0])] == [0, 0]
        assert runner.peak_memory_bytes(0) == local.peak_memory_bytes(0)
        assert runner.kernel_latency_us(0) is None


def refusal(where: str, engine: str = "onnxruntime") -> str:
    with pytest.raises(EngineError) as caught, SshRunner(where, engine) as runner:
        runner.machine()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("known", ["nobody", "changed"])
def test_a_host_whose_key_is_not_known_is_refused(ssh_board, known):
    error = refusal(ssh_board.where(known=known))
    assert "cannot be reached (Host key verification failed.); its key is not known here, or has changed" in error


def test_a_key_that_the_board_does_not_accept_is_reported(ssh_board):
    error = refusal(ssh_board.where(identity="stranger"))
    assert "Permission denied" in error
    assert "install one there: ssh-copy-id -F" in error


def test_a_port_where_nobody_listens_is_reported(ssh_board):
    ssh_board.stop()
    assert "Connection refused); check that this works: ssh -F" in refusal(ssh_board.where())


def test_a_board_without_that_python_is_reported(ssh_board):
    assert "there is no 'python9' on the board; install it there" in refusal(ssh_board.where(python="python9"))


def test_a_python_that_is_too_old_is_reported(ssh_board):
    old = f"""exec {sys.executable} -c 'import sys; sys.version_info = (3, 6, 9); exec(sys.argv[1])' "$2" """
    error = refusal(ssh_board.where(python=ssh_board.python("old", old)))
    assert "is Python 3.6, 3.8 or newer is needed; name another" in error


def test_for_a_python_without_the_engine_the_message_says_what_to_install(ssh_board, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    error = refusal(ssh_board.where(python=str(python)))
    assert f"lacks numpy and onnxruntime; run on the board: {python} -m pip install numpy onnxruntime" in error
    outside = ssh_board.python(
        "system", f"""exec {python} -c 'import sys; sys.prefix = sys.base_prefix; exec(sys.argv[1])' "$2" """
    )
    error = refusal(ssh_board.where(python=outside), "mnn")
    assert "python3 -m venv ~/model-factory && ~/model-factory/bin/pip install numpy MNN; then measure --on" in error


def test_an_engine_that_cannot_be_imported_is_reported(ssh_board, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text("raise ImportError('libc.so.6: no such version')")
    python = ssh_board.python("broken", f'PYTHONPATH={tmp_path / "broken"} exec {sys.executable} "$@"')
    assert "installed but cannot be imported (libc.so.6: no such version)" in refusal(ssh_board.where(python=python))


def test_the_output_of_a_login_script_is_skipped(ssh_board):
    python = ssh_board.python("talking", f'echo Welcome; printf "no line end"; exec {sys.executable} "$@"')
    with SshRunner(ssh_board.where(python=python), "onnxruntime") as runner:
        assert runner.machine().cores >= 1


def test_a_machine_without_the_ssh_client_is_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "'ssh' cannot be started" in refusal("board")
    assert "apt-get install openssh-client" in refusal("board")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "is not the address of a board; write ssh:"),
        ("-oProxyCommand=touch", "is not the address of a board"),
        ("user@-x", "is not the address of a board"),
        ("board;true", "is not the address of a board"),
        ("$(true)", "is not the address of a board"),
        ("board:port", "is not the address of a board"),
        ("board:70000", "ports are 1 to 65535"),
        ("board,pyton=x", "did you mean 'python'?"),
        ("board,python=x;true", "write a command or a path of letters"),
        ("board,python=-c", "write a command or a path of letters"),
        ("board,python=", "write a command or a path of letters"),
        ("board,config=nowhere", "which is not a file here"),
    ],
)
def test_an_invalid_address_is_refused_before_anything_is_started(address, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        get_runner(f"ssh:{address}", get_engine("onnxruntime"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("board", ["--", "board"]),
        ("pi@10.0.0.7:2222", ["-p", "2222", "--", "pi@10.0.0.7"]),
        ("[fe80::1%eth0]:22", ["-p", "22", "--", "fe80::1%eth0"]),
        ("board,python=~/venv/bin/python", ["--", "board"]),
    ],
)
def test_addresses_become_words_of_the_client(address, words):
    parsed = SshAddress.parse(address)
    command = parsed.command()
    assert [word for word in command[:-1] if word in words] == words
    assert command[-1].startswith(f"{parsed.python} -c 'import sys,types;")
    assert "BatchMode=yes" in command
    assert not any("StrictHostKeyChecking" in word for word in command)
    assert str(parsed) == f"ssh:{address}"
