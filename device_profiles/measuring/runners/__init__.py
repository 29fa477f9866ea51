"""The table of runners, which time files on a machine: each implements `device_profiles.measuring.runner.Runner`.

A runner that holds a resource, such as a connection, is also a context manager; the caller of `get_runner` enters it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from device_profiles.measuring.runner import LocalRunner
from device_profiles.measuring.runners.adb import adb_runner
from device_profiles.measuring.runners.browser import browser_runner
from factory_base.documents import nearest
from factory_base.errors import ConfigError

if TYPE_CHECKING:
    from device_profiles.engine import Engine
    from device_profiles.measuring.runner import Runner


@runtime_checkable
class ShowsProgress(Protocol):
    """A runner whose machine shows the progress of the measurement."""

    def show(self, done: int, total: int, detail: str = "") -> None:
        """Show progress; the arguments are those of a `Progress`."""


def _here(address: str, engine: Engine) -> Runner:
    if address:
        raise ConfigError(f"'here:{address}' has an address; write 'here' for this machine")
    return LocalRunner(engine)


def _ssh(address: str, engine: Engine) -> Runner:
    from device_profiles.measuring.runners.ssh import SshRunner

    return SshRunner(address, engine.name)


RUNNERS: dict[str, Callable[[str, Engine], Runner]] = {
    "here": _here,
    "ssh": _ssh,
    "adb": adb_runner,
    "browser": browser_runner,
}
"""By the word before the colon: a function from the address after it and the engine of the files to a runner."""


def get_runner(where: str, engine: Engine) -> Runner:
    """The runner for `where`: `here`, or a key of `RUNNERS`, a colon and an address.

    Raises:
        ConfigError: The key is unknown, or the address is not valid.
        EngineError: The machine cannot time files of this engine.
    """
    word, _, address = where.partition(":")
    if word not in RUNNERS:
        raise ConfigError(f"{where!r} does not name a machine to measure; {nearest(word, RUNNERS)}")
    return RUNNERS[word](address, engine)
