"""What the server of the page sends, and what it refuses."""

import http.client
import json

import pytest

from exports.page.server import SiteServer
from exports.page.site import make_site, write_site
from factory_base.errors import ConfigError, DiskError, ManifestError


@pytest.fixture
def engine(tmp_path):
    """A folder with files of the names of ONNX Runtime Web."""
    folder = tmp_path / "ort"
    folder.mkdir()
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def family(make_family):
    return make_family()


@pytest.fixture
def site(engine, family):
    return make_site(family, engine)


@pytest.fixture
def server(site):
    made = SiteServer(site)
    yield made
    made.close()


def get(server, path, **headers):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://").rstrip("/"), timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_the_page_the_client_the_engine_and_the_family_are_served(server):
    for path in ("/", "/boot.mjs", "/page.mjs", "/style.css", "/sw.js", "/client/index.js", "/ort/ort.wasm.min.mjs"):
        assert get(server, path)[0].status == 200, path
    response, body = get(server, "/family/manifest.json")
    assert json.loads(body)["family_id"] == "animals"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    "path",
    ["/family/", "/family/../index.html", "/../pyproject.toml", "/family/%2e%2e/manifest.json", "/nothing"],
)
def test_nothing_else_is_served(server, path):
    assert get(server, path)[0].status == 404


@pytest.mark.parametrize(
    ("asked", "status", "sent"),
    [("bytes=0-3", 206, slice(0, 4)), ("bytes=4-", 206, slice(4, None)), ("bytes=99999999-", 416, slice(0, 0))],
)
def test_a_download_may_continue_in_the_middle(server, site, asked, status, sent):
    whole = site.content("family/manifest.json")
    response, body = get(server, "/family/manifest.json", Range=asked)
    assert (response.status, body) == (status, whole[sent])


def test_a_page_of_another_site_that_leads_here_is_refused(server):
    assert get(server, "/", Host="evil.example:80")[0].status == 403


def test_without_isolation_the_headers_for_threads_are_missing(site):
    server = SiteServer(site, isolated=False)
    try:
        assert "Cross-Origin-Embedder-Policy" not in get(server, "/")[0].headers
    finally:
        server.close()


def test_a_port_in_use_is_named_with_what_to_do(server, site):
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"port {port} cannot be used .* choose another one with --port"):
        SiteServer(site, port)


def test_plain_files_are_what_the_server_sends(site, tmp_path):
    count = write_site(site, tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {*site.made, *site.stored}
    assert count == len(files)
    with pytest.raises(DiskError, match="is not empty"):
        write_site(site, tmp_path / "out")


def test_other_contents_make_another_service_worker(site, engine, family):
    (engine / "ort.wasm.min.mjs").write_bytes(b"newer")
    assert make_site(family, engine).content("sw.js") != site.content("sw.js")


def test_a_damaged_family_is_not_served(engine, family):
    next((family / "models").iterdir()).write_bytes(b"x")
    with pytest.raises(ManifestError, match="bytes, the manifest says"):
        make_site(family, engine)


def test_a_folder_without_the_engine_is_refused(family, tmp_path):
    with pytest.raises(ConfigError, match=r"has no ort\.wasm\.min\.mjs; name the folder dist"):
        make_site(family, tmp_path)


def test_a_policy_is_checked_and_named_by_the_page(engine, family, tmp_path):
    (tmp_path / "policy.json").write_text('{"policy_version": "1.0", "revoked": []}')
    site = make_site(family, engine, tmp_path / "policy.json")
    assert b'<meta name="policy"' in (site.content("index.html") or b"")
    (tmp_path / "policy.json").write_text('{"policy_version": "2.0"}')
    with pytest.raises(ConfigError, match=r"is not 1\.x"):
        make_site(family, engine, tmp_path / "policy.json")
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(ConfigError, match=r"^\S*policy\.json: is not valid JSON"):
        make_site(family, engine, tmp_path / "policy.json")
