"""All files of the page for a family: what is served, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device_profiles.measuring.runners.browser import ENGINE_FILES
from exports.client.python.resolver import UnusablePolicyError, revoked_files
from exports.family.files import check_file
from exports.family.manifest import FILE_NAME, manifest_path, parse_manifest, read_bytes, reference_faults
from factory_base.errors import ConfigError, DiskError, ForeignError, ManifestError
from factory_base.files import sha256_bytes, write_bytes
from factory_base.foreign import parse_json, read_regular

STATIC: Final = Path(__file__).with_name("static")
CLIENT: Final = Path(__file__).parents[1] / "client" / "typescript" / "dist"
_MAX_POLICY: Final = 1 << 18
"""As in the clients."""
_POLICY_MARK: Final = b"<!-- policy -->"
_ROOT: Final = "./"
"""The name of `index.html` in the list of what the service worker stores: browsers ask for the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The files of a page by the paths below its address; those that were made or changed are held in memory.

    Attributes:
        made: Contents by path.
        stored: Files by path.
    """

    made: Mapping[str, bytes]
    stored: Mapping[str, Path]

    def content(self, name: str) -> bytes | None:
        """The content at a path; None if there is nothing. Raises `OSError`."""
        if name in self.made:
            return self.made[name]
        return self.stored[name].read_bytes() if name in self.stored else None


def make_site(family: Path, engine: Path, policy: Path | None = None) -> Site:
    """The page for a family.

    Args:
        family: The family's folder or manifest. Its files are checked now, and served as they are then.
        engine: The folder `dist` of the package `onnxruntime-web`.
        policy: A policy that the page is to follow.

    Raises:
        ManifestError: The manifest cannot be used, or a file is missing or damaged.
        ConfigError: The folder of the engine lacks a file, or the policy cannot be used.
    """
    missing = [name for name in ENGINE_FILES if not (engine / name).is_file()]
    if missing:
        raise ConfigError(f"{engine}: has no {missing[0]}; name the folder dist of the package onnxruntime-web")
    stored = {f"ort/{name}": engine / name for name in ENGINE_FILES}
    stored |= {f"client/{path.name}": path for path in CLIENT.glob("*.js")}
    stored |= {path.name: path for path in STATIC.iterdir() if path.suffix in (".mjs", ".css")}
    index = (STATIC / "index.html").read_bytes()
    made = {"policy.json": _policy(policy)} if policy else {}
    if policy:
        index = index.replace(_POLICY_MARK, b'<meta name="policy" content="policy.json">')
    shell = {name: sha256_bytes(path.read_bytes()) for name, path in sorted(stored.items())}
    shell[_ROOT] = sha256_bytes(index)
    stored |= dict(_family_files(family))
    made |= {"index.html": index, "sw.js": _service_worker(shell)}
    return Site(made=made, stored=stored)


def write_site(site: Site, folder: Path) -> int:
    """Write the page as plain files, which any server can serve.

    Args:
        site: The page.
        folder: A folder that is empty or does not exist.

    Returns:
        The number of files.

    Raises:
        DiskError: The folder is not empty, or a file cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise DiskError(f"{folder} is not empty; name a new folder")
        names = sorted({*site.made, *site.stored})
        for name in names:
            write_bytes(folder / name, site.content(name) or b"")
    except OSError as error:
        raise DiskError(f"{folder}: cannot be written ({error.strerror})") from error
    return len(names)


def _family_files(family: Path) -> Iterator[tuple[str, Path]]:
    """The manifest and the files that an app needs: an evaluation, if one is published, is for comparisons alone."""
    file = manifest_path(family)
    manifest = parse_manifest(read_bytes(family), str(file))
    for fault in reference_faults(manifest):
        raise ManifestError(f"{file}: {fault}")
    yield f"family/{FILE_NAME}", file
    needed = manifest.model_copy(update={"evaluation": None})
    for entry in needed.files():
        check_file(file.parent, entry)
        yield f"family/{entry.name}", file.parent / entry.name


def _policy(file: Path) -> bytes:
    try:
        data = read_regular(file, _MAX_POLICY)
        revoked_files(parse_json(data, str(file), max_bytes=_MAX_POLICY))
    except ForeignError as error:
        raise ConfigError(str(error)) from error  # which names the file
    except UnusablePolicyError as error:
        raise ConfigError(f"{file}: {error}") from error
    return data


def _service_worker(shell: Mapping[str, str]) -> bytes:
    """The worker with the list of what it stores; other contents make another worker, which browsers then load."""
    version = sha256_bytes(json.dumps(shell, sort_keys=True).encode())[:16]
    listed = json.dumps({"version": version, "files": shell}, sort_keys=True)
    return f"const SHELL = {listed};\n".encode() + (STATIC / "sw.js").read_bytes()
