"""Engines, parity, the manifest, the resolver and the client. Knows neither training nor search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.lazy import public

if TYPE_CHECKING:
    from exports.client.python.preprocess import model_input as model_input
    from exports.client.python.preprocess import resize as resize
    from exports.client.python.records import ClientState as ClientState
    from exports.client.python.records import DeviceFacts as DeviceFacts
    from exports.client.python.records import Resolution as Resolution
    from exports.client.python.resolver import resolve as resolve
    from exports.client.python.selector_rules import ram_class_mib as ram_class_mib
    from exports.engines import get_engine as get_engine
    from exports.exporter import ConvertOptions as ConvertOptions
    from exports.exporter import export_artifact as export_artifact
    from exports.exporters import get_exporter as get_exporter
    from exports.family.artifact import Artifact as Artifact
    from exports.family.artifact import Evaluation as Evaluation
    from exports.family.artifact import evaluate_artifact as evaluate_artifact
    from exports.family.diff import Limits as Limits
    from exports.family.diff import diff_families as diff_families
    from exports.family.family import write_family as write_family
    from exports.family.manifest import EXAMPLE_MANIFEST as EXAMPLE_MANIFEST
    from exports.family.manifest import manifest_schema as manifest_schema
    from exports.family.manifest import parse_manifest as parse_manifest
    from exports.family.manifest import read_manifest as read_manifest
    from exports.family.metric_change import paired_difference as paired_difference
    from exports.family.parity import Parity as Parity
    from exports.family.parity import check_parity as check_parity
    from exports.family.proof import Proof as Proof
    from exports.family.records import Manifest as Manifest
    from exports.family.records import Model as Model
    from exports.family.records import Perf as Perf
    from exports.family.records import Provenance as Provenance
    from exports.family.records import Selector as Selector
    from exports.family.records import Soc as Soc
    from exports.family.records import Tier as Tier
    from exports.family.specs import FamilySpec as FamilySpec
    from exports.family.specs import ModelSpec as ModelSpec
    from exports.family.specs import TierSpec as TierSpec
    from exports.family.specs import family_spec as family_spec
    from exports.family.specs import model_spec as model_spec
    from exports.family.specs import tier_spec as tier_spec
    from exports.family.verify import verify_family as verify_family
    from exports.isolation.process import IsolatedProcess as IsolatedProcess
    from exports.onnx.arena import Buffer as Buffer
    from exports.onnx.arena import plan_arena as plan_arena
    from exports.onnx.conversion import CheckImages as CheckImages
    from exports.onnx.graph_memory import GraphMemory as GraphMemory
    from exports.onnx.graph_memory import plan_graph as plan_graph
    from exports.onnx.onnx_file import export_onnx as export_onnx
    from exports.onnx.quantising.precision import convert_precision as convert_precision

_MODULES = {
    "Artifact": "exports.family.artifact",
    "Buffer": "exports.onnx.arena",
    "CheckImages": "exports.onnx.conversion",
    "ClientState": "exports.client.python.records",
    "ConvertOptions": "exports.exporter",
    "DeviceFacts": "exports.client.python.records",
    "EXAMPLE_MANIFEST": "exports.family.manifest",
    "Evaluation": "exports.family.artifact",
    "FamilySpec": "exports.family.specs",
    "GraphMemory": "exports.onnx.graph_memory",
    "IsolatedProcess": "exports.isolation.process",
    "Limits": "exports.family.diff",
    "Manifest": "exports.family.records",
    "Model": "exports.family.records",
    "ModelSpec": "exports.family.specs",
    "Parity": "exports.family.parity",
    "Perf": "exports.family.records",
    "Proof": "exports.family.proof",
    "Provenance": "exports.family.records",
    "Resolution": "exports.client.python.records",
    "Selector": "exports.family.records",
    "Soc": "exports.family.records",
    "Tier": "exports.family.records",
    "TierSpec": "exports.family.specs",
    "check_parity": "exports.family.parity",
    "convert_precision": "exports.onnx.quantising.precision",
    "diff_families": "exports.family.diff",
    "evaluate_artifact": "exports.family.artifact",
    "export_artifact": "exports.exporter",
    "export_onnx": "exports.onnx.onnx_file",
    "family_spec": "exports.family.specs",
    "get_engine": "exports.engines",
    "get_exporter": "exports.exporters",
    "manifest_schema": "exports.family.manifest",
    "model_input": "exports.client.python.preprocess",
    "model_spec": "exports.family.specs",
    "paired_difference": "exports.family.metric_change",
    "parse_manifest": "exports.family.manifest",
    "plan_arena": "exports.onnx.arena",
    "plan_graph": "exports.onnx.graph_memory",
    "ram_class_mib": "exports.client.python.selector_rules",
    "read_manifest": "exports.family.manifest",
    "resize": "exports.client.python.preprocess",
    "resolve": "exports.client.python.resolver",
    "tier_spec": "exports.family.specs",
    "verify_family": "exports.family.verify",
    "write_family": "exports.family.family",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)
