"""After Ctrl-C or `kill -9` at any moment nothing is damaged, and finished stages do not run again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from factory_base.files import exclusive

KILL_IN_WRITE = """
import os, signal, sys
from model_factory.__main__ import main
left, replace = int(sys.argv.pop(1)), os.replace

def dying_replace(source, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = dying_replace
main()
"""


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300  # on a machine that does much else
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def heed_ctrl_c() -> None:
    """Restore the default: background jobs of a shell start with Ctrl-C ignored, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_in_training_prints_one_line_and_the_next_build_resumes(
    start_factory, factory, empty_app, built, published, steps_done
):
    state = empty_app / "runs" / "tiny" / "training.safetensors"
    process = start_factory(empty_app, "build", "--quiet", preexec_fn=heed_ctrl_c)
    wait_until(state.is_file, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "interrupted; run the same command again to continue where it stopped\n"
    assert steps_done(state) > 0
    assert factory(empty_app, "build", "-q").code == 0
    assert published(empty_app) == published(built)


def test_a_kill_after_a_stage_leaves_the_family_of_an_undisturbed_build(
    start_factory, factory, empty_app, built, published
):
    process = start_factory(empty_app, "build", "--quiet")
    wait_until((empty_app / "runs" / "tiny" / "stages" / "search.json").is_file, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    answer = factory(empty_app, "build")
    assert answer.code == 0
    assert not {"train supernet", "choose subnets to score", "pick subnets"} & set(answer.stages)
    assert published(empty_app) == published(built)
    assert factory(empty_app, "verify", "dist/tiny").code == 0


def test_kill_inside_a_write_leaves_no_half_file(start_factory, factory, app, built, published):
    for record in (app / "runs" / "tiny" / "stages").glob("[efrs]*.json"):
        record.unlink()
    shutil.rmtree(app / "dist")
    process = start_factory(app, 12, "build", "--quiet", prefix=("-c", KILL_IN_WRITE))
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert list(app.rglob("*.partial-*"))
    assert factory(app, "build", "-q").code == 0
    assert not list(app.rglob("*.partial-*"))
    assert published(app) == published(built)


def test_a_second_build_in_the_same_run_folder_is_refused(factory, app, built, published):
    with exclusive(app / "runs" / "tiny", "test"):
        answer = factory(app, "build")
    assert answer.code == 1
    assert "runs/tiny: another process is at work here" in answer.error
    assert published(app) == published(built)


def test_a_lock_file_that_a_killed_build_left_does_not_block(factory, app):
    hold = "import os, sys; from pathlib import Path; from factory_base.files import exclusive\n"
    hold += "with exclusive(Path('runs/tiny'), 'test'): os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", hold], cwd=app)
    assert killed.returncode == -signal.SIGKILL
    assert factory(app, "build", "-q").code == 0
