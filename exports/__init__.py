"""Engines, parity, the manifest, the resolver and the client. Knows no training and no search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory_base.lazy import public

if TYPE_CHECKING:
    from exports.client.python.preprocess import model_input as model_input
    from exports.client.python.resolver import DeviceFacts as DeviceFacts
    from exports.client.python.resolver import Resolution as Resolution
    from exports.client.python.resolver import ram_class_mib as ram_class_mib
    from exports.client.python.resolver import resolve as resolve
    from exports.engines import get_engine as get_engine
    from exports.family.artifact import Artifact as Artifact
    from exports.family.artifact import Evaluation as Evaluation
    from exports.family.artifact import evaluate_artifact as evaluate_artifact
    from exports.family.artifact import export_artifact as export_artifact
    from exports.family.family import write_family as write_family
    from exports.family.manifest import manifest_schema as manifest_schema
    from exports.family.manifest import parse_manifest as parse_manifest
    from exports.family.manifest import read_manifest as read_manifest
    from exports.family.records import Manifest as Manifest
    from exports.family.specs import FamilySpec as FamilySpec
    from exports.family.specs import ModelSpec as ModelSpec
    from exports.family.specs import TierSpec as TierSpec
    from exports.family.verify import verify_family as verify_family

_MODULES = {
    "Artifact": "exports.family.artifact",
    "DeviceFacts": "exports.client.python.resolver",
    "Evaluation": "exports.family.artifact",
    "FamilySpec": "exports.family.specs",
    "Manifest": "exports.family.records",
    "ModelSpec": "exports.family.specs",
    "Resolution": "exports.client.python.resolver",
    "TierSpec": "exports.family.specs",
    "evaluate_artifact": "exports.family.artifact",
    "export_artifact": "exports.family.artifact",
    "get_engine": "exports.engines",
    "manifest_schema": "exports.family.manifest",
    "model_input": "exports.client.python.preprocess",
    "parse_manifest": "exports.family.manifest",
    "ram_class_mib": "exports.client.python.resolver",
    "read_manifest": "exports.family.manifest",
    "resolve": "exports.client.python.resolver",
    "verify_family": "exports.family.verify",
    "write_family": "exports.family.family",
}
"""The module of each public name."""

_load, __dir__ = public(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    return _load(name)
