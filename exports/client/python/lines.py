"""Resolves one case per line of standard input, so that programs in other languages can be compared with this one.

    python -m exports.client.python.lines

`{"manifest": ...}` sets the manifest and gives no output. Any other line, `{"policy": ..., "facts": ...,
"state": ..., "now": ...}`, gives one line in the form of `expect` in `vectors/resolver.json`. A line that is not strict
JSON gives the error `json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .records import ClientState, DeviceFacts, Resolution
from .resolver import UnusableManifestError, UnusablePolicyError, resolve
from .strict_json import parse_json, take


def answers(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The answer to every line but those that set the manifest."""
    manifest: Any = None
    for line in lines:
        try:
            case = take(parse_json(line, "the line"), dict)
        except ValueError:
            yield {"error": "json"}
            continue
        if "manifest" in case:
            manifest = case["manifest"]
        else:
            yield answer(manifest, case)


def answer(manifest: Any, case: dict[str, Any]) -> dict[str, Any]:
    """What the resolver says to a case, in the form of `expect`."""
    facts, state = DeviceFacts.from_json(case.get("facts")), ClientState.from_json(case.get("state"))
    try:
        return plain(resolve(manifest, case.get("policy"), facts, state, case["now"]))
    except UnusableManifestError:
        return {"error": "manifest"}
    except UnusablePolicyError:
        return {"error": "policy"}


def plain(found: Resolution) -> dict[str, Any]:
    """A resolution without the texts for people."""
    return {
        "action": found.action,
        "tier": found.tier,
        "rank": found.rank,
        "model": found.model,
        "compute_unit": found.compute_unit,
        "installed": found.installed,
        "proven": found.proven,
        "reasons": [[reason.tier, reason.model, reason.code] for reason in found.reasons],
    }


def main() -> None:
    """Answer all lines of standard input."""
    for found in answers(sys.stdin.buffer):
        print(json.dumps(found))


if __name__ == "__main__":
    main()
