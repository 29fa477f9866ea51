"""The model factory: train one supernet, search it per device, export a family with a manifest.

The sibling packages have generic names, so their place is checked here, before anything of them is imported.
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
            raise ImportError(
                f"the package {name!r} of supernet-factory is hidden by {origin or 'nothing that can be imported'}; "
                f"expected it in {root}. Rename or uninstall the other one, or use a virtual environment of its own."
            )


_check_siblings()
