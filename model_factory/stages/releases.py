"""The record of what was built under each release number, which outlives the family in `dist/`.

Apps keep the release with the highest number. A build does not know which of its families were published, so it says
when a number stands for more than one content; `factory verify --previous` refuses such a release.
"""

from __future__ import annotations

from exports.family.diff import content_of
from exports.family.records import Manifest
from factory_base.files import digest_of
from model_factory.run import Run
from model_factory.stages.sealed import read_sealed, write_sealed


def number_notes(run: Run, earlier: Manifest | None, manifest: Manifest) -> tuple[str, ...]:
    """Record the content of a family, and say if its release number may be taken.

    Args:
        run: The run, whose folder holds the record.
        earlier: The manifest that the build replaced, if there was one.
        manifest: The manifest of the family.

    Raises:
        DiskError: The record cannot be written.
    """
    known = _record(run)
    found = {number: list(digests) for number, digests in known.items()}
    for one in (earlier, manifest):
        if one is not None and one.family_id == manifest.family_id:
            digests = found.setdefault(one.release, [])
            digests += [digest] if (digest := _content_digest(one)) not in digests else []
    if found != known:
        write_sealed(run.releases, {"releases": {str(number): digests for number, digests in found.items()}})
    return _notes(manifest, found)


def _notes(manifest: Manifest, found: dict[int, list[str]]) -> tuple[str, ...]:
    newest, name = max(found), f"release {manifest.release} of family {manifest.family_id}"
    if newest > manifest.release:
        what = f"{name} comes after release {newest}, which was built before; apps that have that will not take it"
    elif len(found[manifest.release]) > 1:
        what = f"{name} was built before with other content; apps that have that will not take this"
    else:
        return ()
    return (f"{what}: if the other was published, set `release: {newest + 1}` in the config before you publish this",)


def _record(run: Run) -> dict[int, list[str]]:
    """The digests by release number; none if the record is missing or damaged."""
    content = read_sealed(run.releases)
    releases = content.get("releases") if content else None
    return {int(number): digests for number, digests in releases.items()} if isinstance(releases, dict) else {}


def _content_digest(manifest: Manifest) -> str:
    # Without values that are the default, so that a field which a later version adds changes nothing.
    return digest_of(content_of(manifest).model_dump(mode="json", by_alias=True, exclude_defaults=True))
