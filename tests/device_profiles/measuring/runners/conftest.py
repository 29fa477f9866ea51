"""Fixtures of the tests of pages and their server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_client import Make, files_in, new_runner

from device_profiles.measuring.runners.browser import BrowserRunner


@pytest.fixture
def dist(tmp_path) -> Path:
    """A folder with files of the right names."""
    return files_in(tmp_path)


@pytest.fixture
def make_runner() -> Iterator[Make]:
    made: list[BrowserRunner] = []

    def make(*arguments, **options) -> BrowserRunner:
        made.append(new_runner(*arguments, **options))
        return made[-1]

    yield make
    for runner in made:
        runner.__exit__(None, None, None)
