"""Boards that are broken or mean harm: whatever they send is one line that names them, and nothing of it is used.

The board is a shell script that answers the n-th request with the n-th of some prepared texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_profiles.measuring.runner import TimedFile
from device_profiles.measuring.runners import board, ssh_link
from device_profiles.measuring.runners.ssh import SshAddress, SshRunner
from factory_base.errors import EngineError

FACTS = {"processor": "Fake", "cores": 4, "ram_bytes": 2**32, "engine_version": "1.20.0"}
REMEDY = "check that machine, then run the same command again to resume"
PROGRAM_BYTES = len(ssh_link._ENGINES_SOURCE) + len(ssh_link._SOURCE)

Make = Callable[..., SshRunner]


def done(value: object) -> str:
    return json.dumps({"done": value})


HELLO, MISSING, LOADED = done(FACTS), done({"missing": []}), done({"load_us": []})


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a runner whose board gives these answers, after running `first` in its shell."""
    made: list[SshRunner] = []
    monkeypatch.setattr(ssh_link, "_ENDING_S", 0.2)

    def make(*answers: str | bytes, first: str = ":", timeout_s: float = 10.0) -> SshRunner:
        for number, answer in enumerate(answers):
            data = answer if isinstance(answer, bytes) else answer.encode()
            (tmp_path / str(number)).write_bytes(data + b"\n")
        greeting = board.GREETING.decode().replace("\n", "\\n")
        script = (
            f"{first}; head -c {PROGRAM_BYTES} >/dev/null; printf '{greeting}'; n=0; "
            f'while read -r request; do cat "{tmp_path}/$n"; n=$((n+1)); done'
        )
        monkeypatch.setattr(SshAddress, "command", lambda _: ["sh", "-c", script])
        made.append(SshRunner("board", "onnxruntime", timeout_s=timeout_s, retry_pauses_s=()))
        return made[-1]

    yield make
    for runner in made:
        runner.close()


def fault(work: Callable[[], object]) -> str:
    """The one line that `work` fails with."""
    with pytest.raises(EngineError) as caught:
        work()
    message = str(caught.value)
    assert message.startswith("ssh:board: ")
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("hello", "its answer to 'hello': is not valid JSON"),
        ("[1]", "its answer to 'hello': is a list of 1, not an object"),
        ("null", "is None, not an object"),
        ("{}", "answered 'hello' with the keys none, not 'done'"),
        ('{"done": 5}', "input should be an object, got 5"),
        (done(FACTS | {"evil": 1}), "unknown key 'evil'"),
        (done({"cores": 4}), "key 'processor' is missing"),
        (done(FACTS | {"cores": "4"}), "'cores': input should be a valid integer, got '4'"),
        (done(FACTS | {"cores": True}), "'cores': input should be a valid integer, got True"),
        (done(FACTS | {"cores": -5}), "'cores': input should be greater than or equal to 1, got -5"),
        (done(FACTS | {"ram_bytes": 2**60}), "'ram_bytes': input should be less than or equal to"),
        (done(FACTS | {"ram_bytes": float("nan")}), "NaN is not a number in JSON"),
        ('{"done": ' + "9" * 5000 + "}", "exceeds 64 bits"),
        ('{"done": {}, "done": {}}', "is not valid JSON (key 'done'"),
        ("[" * 100_000, "is nested deeper than 64 levels"),
        (b'{"done": "\xff"}', "is not UTF-8 text"),
        (json.dumps({"error": "\x1b[31mred\nline"}), r"\x1b[31mred\nline"),
        (done({"lacks": ["numpy; rm -rf ~"], "python": "p", "venv": True}), "got 'numpy; rm -rf ~'"),
        (done({"lacks": 5, "python": "p", "venv": True}), "'lacks': input should be a valid tuple, got 5"),
        (done({"lacks": ["numpy"], "python": "\x1b[31mp", "venv": True}), r"run on the board: '\x1b[31mp' -m pip"),
    ],
)
def test_a_first_answer_that_is_none_is_one_line(answering: Make, answer: str | bytes, words: str) -> None:
    assert words in fault(answering(answer).machine)


def test_names_come_without_control_characters(answering: Make) -> None:
    machine = answering(done(FACTS | {"processor": "\x1b]0;x\x07A: {y}\n- b", "engine_version": "1\n2"})).machine()
    assert machine.processor == r"\x1b]0;x\x07A: {y}\n- b"
    assert machine.engine_version == r"1\n2"


def opened(runner: SshRunner, tmp_path: Path, files: int = 1, timed: int = 0) -> SshRunner:
    paths = [tmp_path / f"{index}.onnx" for index in range(files)]
    for path in paths:
        path.write_text(path.name)
    runner.open([TimedFile(path=path, input_shape=(1,)) for path in paths], timed, 1, 0)
    return runner


@pytest.mark.parametrize(
    ("missing", "loaded", "words"),
    [
        (done({"missing": ["nosuch"]}), LOADED, "asks for a file that it was not offered"),
        (done({"missing": 5}), LOADED, "'missing': input should be a valid tuple, got 5"),
        (MISSING, done({"load_us": [[1.0]]}), "sent load times of 1 files; 3 of each of 1 are needed"),
        (MISSING, done({"load_us": []}), "sent load times of 0 files"),
        (MISSING, done({"load_us": [[1.0, -1.0, 1.0]]}), "'load_us.0.1': input should be greater than"),
        (MISSING, done({"load_us": [[1.0, "x", 1.0]]}), "'load_us.0.1': input should be a valid number, got 'x'"),
    ],
)
def test_files_are_not_opened_after_nonsense(
    answering: Make, tmp_path: Path, missing: str, loaded: str, words: str
) -> None:
    assert words in fault(lambda: opened(answering(HELLO, missing, loaded), tmp_path, timed=1))


def visited(*entries: tuple[int, object]) -> str:
    return "\n".join([*(json.dumps({"file": file, "us": us}) for file, us in entries), done({})])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (visited((0, [float("nan")]), (1, [1.0])), "NaN is not a number in JSON"),
        (visited((0, [float("inf")]), (1, [1.0])), "Infinity is not a number in JSON"),
        (visited((0, [-1.0]), (1, [1.0])), "'us.0': input should be greater than or equal to 0.001, got -1.0"),
        (visited((0, [0]), (1, [1.0])), "'us.0': input should be greater than or equal to 0.001, got 0"),
        (visited((0, [1e300]), (1, [1.0])), "'us.0': input should be less than or equal to 3600000000, got 1e+300"),
        (visited((0, []), (1, [1.0])), "'us': tuple should have at least 1 item"),
        (visited((0, None), (1, [1.0])), "'us': input should be a valid tuple, got None"),
        (visited((0, [1.0] * 51), (1, [1.0])), "'us': tuple should have at most 50 items"),
        (visited((-1, [1.0]), (1, [1.0])), "'file': input should be greater than or equal to 0, got -1"),
        (visited((99, [1.0]), (1, [1.0])), "sent times of file 99, file 0 was next"),
        (visited((1, [1.0]), (0, [1.0])), "sent times of file 1, file 0 was next"),
        (visited((0, [1.0]), (0, [1.0]), (1, [1.0])), "sent times of file 0, file 1 was next"),
        (visited((0, [1.0]), (1, [1.0]), (1, [1.0])), "sent times of file 1, no further file was next"),
        (visited((0, [1.0])), "ended a round with 1 files left"),
        (done({"more": 1}), "unknown key 'more'"),
    ],
)
def test_times_that_cannot_be_true_and_visits_out_of_order_are_refused(
    answering: Make, tmp_path: Path, answer: str, words: str
) -> None:
    runner = opened(answering(HELLO, MISSING, LOADED, answer), tmp_path, files=2)
    assert words in fault(lambda: list(runner.visit([0, 1])))


GRAPH = {"run_us": 5.0, "durations": {"a_kernel_time": [1] * 24}, "graph": ""}


@pytest.mark.parametrize(
    ("answer", "ask", "words"),
    [
        ({"us": []}, lambda runner: runner.run_for(0, 1.0), "'us': tuple should have at least 1 item"),
        ({"us": [1e-300]}, lambda runner: runner.run_for(0, 1.0), "'us.0': input should be greater than"),
        ({"bytes": -1}, lambda runner: runner.peak_memory_bytes(0), "'bytes': input should be greater than 0"),
        ({"bytes": True}, lambda runner: runner.peak_memory_bytes(0), "'bytes': input should be a valid integer"),
        ({"bytes": 2**62}, lambda runner: runner.peak_memory_bytes(0), "'bytes': input should be less than"),
        ({"profile": 5}, lambda runner: runner.kernel_latency_us(0), "'profile': input should be an object"),
        ({"profile": GRAPH | {"run_us": 0}}, lambda runner: runner.kernel_latency_us(0), "'profile.run_us'"),
        ({"profile": GRAPH | {"graph": "!"}}, lambda runner: runner.kernel_latency_us(0), "cannot be evaluated"),
        ({"profile": GRAPH | {"graph": "AAAA"}}, lambda runner: runner.kernel_latency_us(0), "cannot be evaluated"),
        (
            {"profile": GRAPH | {"durations": {"a_kernel_time": [1]}}},
            lambda runner: runner.kernel_latency_us(0),
            "cannot be evaluated",
        ),
    ],
)
def test_other_answers_about_a_file_are_refused_too(
    answering: Make, tmp_path: Path, answer: object, ask: Callable[[SshRunner], object], words: str
) -> None:
    runner = opened(answering(HELLO, MISSING, LOADED, done(answer)), tmp_path)
    assert words in fault(lambda: ask(runner))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"multiply": 0.0, "copy": 1e-3, "copied": 2**20}, "'multiply': input should be greater"),
        ({"multiply": 1e-3, "copy": 0, "copied": 2**20}, "'copy': input should be greater"),
        ({"x": 1}, "unknown key 'x'"),
    ],
)
def test_a_peak_that_cannot_be_is_refused(answering: Make, answer: object, words: str) -> None:
    assert "its answer to 'peak'" in (message := fault(lambda: answering(done(answer)).peak(1)))
    assert words in message or "is missing" in message


def test_an_answer_that_comes_twice_is_not_taken_for_the_next_one(answering: Make, tmp_path: Path) -> None:
    twice = done({"bytes": 7}) + "\n" + done({"bytes": 7})
    runner = opened(answering(HELLO, MISSING, LOADED, twice, done({"bytes": 8})), tmp_path, files=2)
    assert runner.peak_memory_bytes(0) == 7
    assert runner._link is not None
    while runner._link._lines.empty():
        pass
    assert "sent something that nobody asked for" in fault(lambda: runner.peak_memory_bytes(1))


@pytest.mark.parametrize("before", [True, False])
def test_a_line_without_end_is_not_read_to_its_end(
    answering: Make, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(ssh_link, "_LINE_BYTES", 1000)
    runner = answering("A" * 5000, first="printf '%05000d' 1" if before else ":")
    assert "sent a line of 1,000 bytes or more" in fault(runner.machine)


def test_signs_of_life_do_not_keep_a_board_alive_for_ever(answering: Make) -> None:
    assert "sends more signs of life than 'hello' has steps" in fault(answering('{"alive": true}\n' * 1000).machine)


def test_standard_error_without_end_ends_the_connection(answering: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_link, "_STDERR_BYTES", 10_000)
    runner = answering(HELLO, first="exec yes noise >&2")
    assert "printed more than 10,000 bytes to standard error" in fault(runner.machine)


def test_a_board_that_prints_slowly_instead_of_starting_is_given_up(answering: Make) -> None:
    runner = answering(HELLO, first="while echo waiting; do sleep 0.05; done", timeout_s=0.3)
    assert "does not run our program" in fault(runner.machine) or "cannot be reached" in fault(runner.machine)


def test_standard_error_is_shown_without_control_characters(answering: Make) -> None:
    runner = answering(first=r"printf '\033[31mPermission denied\n' >&2; exit 255")
    assert r"cannot be reached (\x1b[31mPermission denied)" in fault(runner.machine)
