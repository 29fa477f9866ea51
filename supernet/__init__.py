"""Search spaces, model spaces, weight sharing, training, recalibration, data. Independent of devices and engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory_base.lazy import public

if TYPE_CHECKING:
    from supernet.chain import ChainModelSpace as ChainModelSpace
    from supernet.chain import Link as Link
    from supernet.conformance import IndexTableConformance as IndexTableConformance
    from supernet.conformance import MaskingConformance as MaskingConformance
    from supernet.conformance import ModelSpaceConformance as ModelSpaceConformance
    from supernet.data.augmentation_config import AugmentConfig as AugmentConfig
    from supernet.data.config import DataConfig as DataConfig
    from supernet.data.examples import ExampleInputs as ExampleInputs
    from supernet.data.examples import Examples as Examples
    from supernet.data.image_examples import ImageExamples as ImageExamples
    from supernet.data.image_examples import Normalisation as Normalisation
    from supernet.data.image_examples import image_examples as image_examples
    from supernet.data.sources import load_splits as load_splits
    from supernet.data.token_examples import TokenExamples as TokenExamples
    from supernet.data.tokenizer import Tokenizer as Tokenizer
    from supernet.data.tokenizer import load_tokenizer as load_tokenizer
    from supernet.data.tokenizer import trained_tokenizer as trained_tokenizer
    from supernet.data.types import Splits as Splits
    from supernet.evaluation.calibration import choose_calibration as choose_calibration
    from supernet.evaluation.evaluation import accuracy as accuracy
    from supernet.evaluation.evaluation import correct as correct
    from supernet.evaluation.evaluation import predict as predict
    from supernet.evaluation.evaluation import recalibrate as recalibrate
    from supernet.model_space import ModelSpace as ModelSpace
    from supernet.pixels import PixelInput as PixelInput
    from supernet.planning.memory import keep_freed_memory as keep_freed_memory
    from supernet.quantisation.fake import FakeQuantised as FakeQuantised
    from supernet.quantisation.fake import calibrate_ranges as calibrate_ranges
    from supernet.quantisation.fake import fake_quantised as fake_quantised
    from supernet.sharing.importance import SortGroup as SortGroup
    from supernet.sharing.importance import UnitAxis as UnitAxis
    from supernet.sharing.importance import sort_by_importance as sort_by_importance
    from supernet.sharing.macs import count_macs as count_macs
    from supernet.sharing.slicing import Leading as Leading
    from supernet.sharing.slicing import Segments as Segments
    from supernet.sharing.slicing import SlicePlan as SlicePlan
    from supernet.sharing.slicing import SliceRule as SliceRule
    from supernet.sharing.supernet import Supernet as Supernet
    from supernet.space import Choice as Choice
    from supernet.space import SearchSpace as SearchSpace
    from supernet.space import SubnetConfig as SubnetConfig
    from supernet.spaces import make_model_space as make_model_space
    from supernet.spaces.mobilenet_config import MobileNetConfig as MobileNetConfig
    from supernet.spaces.mobilenet_config import StageConfig as StageConfig
    from supernet.spaces.ofa_config import OfaMbv3Config as OfaMbv3Config
    from supernet.spaces.ofa_config import OfaProxylessConfig as OfaProxylessConfig
    from supernet.spaces.published_config import EfficientNetLite0Config as EfficientNetLite0Config
    from supernet.spaces.published_config import MobileNetV3LargeConfig as MobileNetV3LargeConfig
    from supernet.spaces.transformer_config import TextEncoderConfig as TextEncoderConfig
    from supernet.spaces.transformer_config import VisionTransformerConfig as VisionTransformerConfig
    from supernet.training.checkpoint import load_supernet as load_supernet
    from supernet.training.checkpoint import save_supernet as save_supernet
    from supernet.training.config import TrainingConfig as TrainingConfig
    from supernet.training.finetune import OneSubnet as OneSubnet
    from supernet.training.finetune import separated as separated
    from supernet.training.finetune_config import FinetuneConfig as FinetuneConfig
    from supernet.training.training import train as train

_MODULES = {
    "AugmentConfig": "supernet.data.augmentation_config",
    "ChainModelSpace": "supernet.chain",
    "Choice": "supernet.space",
    "DataConfig": "supernet.data.config",
    "EfficientNetLite0Config": "supernet.spaces.published_config",
    "ExampleInputs": "supernet.data.examples",
    "Examples": "supernet.data.examples",
    "FakeQuantised": "supernet.quantisation.fake",
    "FinetuneConfig": "supernet.training.finetune_config",
    "ImageExamples": "supernet.data.image_examples",
    "IndexTableConformance": "supernet.conformance",
    "Leading": "supernet.sharing.slicing",
    "Link": "supernet.chain",
    "MaskingConformance": "supernet.conformance",
    "MobileNetConfig": "supernet.spaces.mobilenet_config",
    "MobileNetV3LargeConfig": "supernet.spaces.published_config",
    "ModelSpace": "supernet.model_space",
    "ModelSpaceConformance": "supernet.conformance",
    "Normalisation": "supernet.data.image_examples",
    "OfaMbv3Config": "supernet.spaces.ofa_config",
    "OfaProxylessConfig": "supernet.spaces.ofa_config",
    "OneSubnet": "supernet.training.finetune",
    "PixelInput": "supernet.pixels",
    "SearchSpace": "supernet.space",
    "Segments": "supernet.sharing.slicing",
    "SlicePlan": "supernet.sharing.slicing",
    "SliceRule": "supernet.sharing.slicing",
    "SortGroup": "supernet.sharing.importance",
    "Splits": "supernet.data.types",
    "StageConfig": "supernet.spaces.mobilenet_config",
    "SubnetConfig": "supernet.space",
    "Supernet": "supernet.sharing.supernet",
    "TextEncoderConfig": "supernet.spaces.transformer_config",
    "TokenExamples": "supernet.data.token_examples",
    "Tokenizer": "supernet.data.tokenizer",
    "TrainingConfig": "supernet.training.config",
    "UnitAxis": "supernet.sharing.importance",
    "VisionTransformerConfig": "supernet.spaces.transformer_config",
    "accuracy": "supernet.evaluation.evaluation",
    "calibrate_ranges": "supernet.quantisation.fake",
    "choose_calibration": "supernet.evaluation.calibration",
    "correct": "supernet.evaluation.evaluation",
    "count_macs": "supernet.sharing.macs",
    "fake_quantised": "supernet.quantisation.fake",
    "image_examples": "supernet.data.image_examples",
    "keep_freed_memory": "supernet.planning.memory",
    "load_tokenizer": "supernet.data.tokenizer",
    "load_splits": "supernet.data.sources",
    "load_supernet": "supernet.training.checkpoint",
    "make_model_space": "supernet.spaces",
    "predict": "supernet.evaluation.evaluation",
    "recalibrate": "supernet.evaluation.evaluation",
    "save_supernet": "supernet.training.checkpoint",
    "separated": "supernet.training.finetune",
    "sort_by_importance": "supernet.sharing.importance",
    "train": "supernet.training.training",
    "trained_tokenizer": "supernet.data.tokenizer",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers would accept every name of a package with a `__getattr__`
    __getattr__, __dir__ = public(__name__, _MODULES)
