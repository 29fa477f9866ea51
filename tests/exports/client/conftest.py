"""A client, and an app with a server, for the conformance tests of the launch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_programs import CLIENTS, Client
from hostile_server import serving
from launching import App


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    found, fault = CLIENTS[request.param]()
    if found is None:
        pytest.skip(fault)
    return found


@pytest.fixture
def app(client: Client, tmp_path: Path) -> Iterator[App]:
    (tmp_path / "dist").mkdir()
    with serving(tmp_path / "dist") as server:
        yield App(client, tmp_path, server)
