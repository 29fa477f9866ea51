"""The model factory: train one supernet, search it per device, export a family with a manifest.

The sibling packages have generic names. This module checks, before any of them is imported, that each is found beside
it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__version__ = "0.1.0"


def _check_siblings() -> None:
    root = Path(__file__).resolve().parent.parent
    for name in ("factory_base", "supernet", "device_profiles", "search", "exports"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent.parent != root:
            problem = (
                f"is hidden by {origin}; rename or uninstall that one, or use a separate virtual environment"
                if origin
                else "cannot be found; install supernet-factory again"
            )
            raise ImportError(f"the package {name!r} of supernet-factory, expected in {root}, {problem}")


_check_siblings()
