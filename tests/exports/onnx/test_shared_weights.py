"""One weights file for several networks: every network computes what its own file computes."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exports.engines import get_engine
from exports.onnx.onnx_file import export_onnx
from exports.onnx.onnxruntime_library import onnxruntime_library
from exports.onnx.parameter_match import Match, Quantised, factor_between
from exports.onnx.quantising.precision import convert_precision
from exports.onnx.shared_weights import SharedTier, share_weights, supernet_values, tier_plans
from exports.onnx.weight_union import unite, without_flips
from factory_base.errors import EngineError
from supernet.evaluation.evaluation import recalibrate
from supernet.pixels import PixelInput
from supernet.sharing.kernel_transform import KernelTransform
from supernet.sharing.slicing import Segments
from supernet.sharing.supernet import Supernet
from supernet.spaces.mobilenet import MobileNetSpace
from supernet.spaces.mobilenet_config import MobileNetConfig

STAGES = [
    {"widths": [8, 16], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "squeeze_excite": True},
    {"widths": [24, 32], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4], "stride": 2},
]


@pytest.fixture(scope="module")
def supernet():
    """Kernels, widths, depths and expansions vary, and normalisations differ from channel to channel."""
    section = {"resolutions": [16], "stem_width": 8, "stages": STAGES, "head_width": 64}
    result = Supernet(MobileNetSpace(MobileNetConfig.model_validate(section), 4), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in result.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return result


@pytest.fixture(scope="module")
def images():
    return torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def tiers(supernet, images, tmp_path_factory):
    """Separate files of the smallest network, of a random one and of the largest."""
    folder, space = tmp_path_factory.mktemp("separate"), supernet.model_space.space
    subnets = {"small": space.smallest, "middle": space.sample(random.Random(1)), "large": space.largest}
    return [tier(supernet, name, subnet, images, folder) for name, subnet in subnets.items()]


def tier(supernet, name, subnet, images, folder, change=None):
    module = recalibrate(supernet.extract(subnet), images)
    if change:
        with torch.no_grad():
            change(module)
    export_onnx(module, (3, 16, 16), folder / f"{name}.onnx")
    return SharedTier(name=name, path=folder / f"{name}.onnx", plans=tier_plans(supernet, subnet))


@pytest.fixture(scope="module")
def shared(supernet, tiers, tmp_path_factory):
    return share_weights(tiers, supernet_values(supernet), tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def quantised(supernet, images, tiers, tmp_path_factory):
    """The smallest and the largest network in int8: separate files, and the shared ones."""
    folder, files = tmp_path_factory.mktemp("int8"), []
    for given in (tiers[0], tiers[2]):
        path = folder / given.path.name
        convert_precision(given.path, path, "int8", images.numpy(), None)
        files.append(replace(given, path=path, source=given.path))
    (folder / "shared").mkdir()
    return files, share_weights(files, supernet_values(supernet), folder / "shared")


def operators(path, folder):
    """How often the engine runs each operator when it has loaded a file."""
    options = onnxruntime_library().SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime_library().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx", load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def outputs(path, images):
    return get_engine("onnxruntime").load(path, 1).run(images.numpy())


@pytest.mark.parametrize("number", range(3))
def test_a_tier_computes_what_its_own_file_computes(tiers, shared, images, number):
    expected = outputs(tiers[number].path, images)
    found = outputs(shared.graphs[tiers[number].name].path, images)
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)


def test_the_largest_tier_needs_no_factors_and_computes_the_same_bits(tiers, shared, images):
    graph = shared.graphs["large"]
    assert {node.op_type for node in onnx.load(graph.path, load_external_data=False).graph.node}.isdisjoint(
        {"Slice", "Concat"}
    )
    np.testing.assert_array_equal(outputs(graph.path, images), outputs(tiers[2].path, images))


def test_all_weights_of_the_slices_are_shared_and_the_files_take_less_space(tiers, shared):
    assert all(graph.own == () for graph in shared.graphs.values())
    assert shared.bytes < 0.8 * sum(tier.path.stat().st_size for tier in tiers)
    assert shared.bytes == sum(path.stat().st_size for path in shared.weights.parent.iterdir())


def test_the_same_tiers_in_any_order_give_the_same_bytes(supernet, tiers, shared, tmp_path):
    again = share_weights(tiers[::-1], supernet_values(supernet), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in shared.weights.parent.iterdir()}
    assert again.weights.read_bytes() == shared.weights.read_bytes()


@pytest.mark.parametrize("number", range(2))
def test_a_quantised_tier_is_as_close_to_the_float_file_as_its_own_file_is(quantised, images, number):
    files, shared = quantised
    exact = outputs(files[number].source, images)
    own, of_shared = (
        np.sqrt(((outputs(path, images) - exact) ** 2).mean())
        for path in (files[number].path, shared.graphs[files[number].name].path)
    )
    assert of_shared <= 1.5 * own


@pytest.mark.parametrize("number", range(2))
def test_the_engine_runs_the_operators_of_the_separate_file(quantised, number, tmp_path):
    files, shared = quantised
    expected = operators(files[number].path, tmp_path)
    assert expected["QLinearConv"] > 5
    assert operators(shared.graphs[files[number].name].path, tmp_path) == expected


def test_all_quantised_weights_are_shared(quantised):
    files, shared = quantised
    assert all(graph.own == () for graph in shared.graphs.values())
    assert shared.bytes < 0.8 * sum(file.path.stat().st_size for file in files)


def test_float16_weights_are_shared_too(supernet, tiers, images, tmp_path):
    (tmp_path / "shared").mkdir()
    files = [replace(given, path=tmp_path / given.path.name, source=given.path) for given in tiers]
    for file in files:
        convert_precision(file.source, file.path, "fp16", None, None)
    shared = share_weights(files, supernet_values(supernet), tmp_path / "shared")
    for file in files:
        expected, graph = outputs(file.path, images), shared.graphs[file.name]
        assert graph.own == ()
        assert np.abs(outputs(graph.path, images) - expected).max() <= 2e-3 * np.ptp(expected)
    assert shared.weights_bytes <= files[2].path.stat().st_size


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_files_that_take_pixels_share_the_weights_of_their_first_convolution_too(supernet, precision, tmp_path):
    deviations, space = (0.2, 0.25, 0.3), supernet.model_space.space
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
    normalised = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / torch.tensor(deviations)[:, None, None]
    tiers = []
    for name, subnet in {"small": space.smallest, "large": space.largest}.items():
        network = PixelInput(recalibrate(supernet.extract(subnet), normalised), (0.5, 0.5, 0.5), deviations)
        source, path = tmp_path / f"{name}.onnx", tmp_path / f"{name}.{precision}.onnx"
        export_onnx(network, (16, 16, 3), source, input_type="uint8")
        convert_precision(source, path, precision, pixels, None)
        tiers.append(SharedTier(name=name, path=path, plans=tier_plans(supernet, subnet), source=source))
    (tmp_path / "shared").mkdir()
    scale = [1 / (255 * deviation) for deviation in deviations]
    shared = share_weights(tiers, supernet_values(supernet), tmp_path / "shared", scale)
    assert all(graph.own == () for graph in shared.graphs.values())
    engine = get_engine("onnxruntime")
    for given in tiers:
        expected, found = (engine.load(f, 1).run(pixels) for f in (given.path, shared.graphs[given.name].path))
        assert np.abs(found - expected).max() <= {"fp32": 1e-5, "int8": 0.2}[precision] * np.ptp(expected)


def test_a_quantised_weight_that_would_need_a_negative_scale_is_not_shared():
    weight = Quantised(values=np.ones((2, 3), np.int8), scale=np.ones(2, np.float32))
    axes = np.arange(2), np.arange(2)
    largest, flipped = (
        Match(
            parameter="p", axes=axes, transposed=False, factor=np.array(factor), quantised=weight,
            values=np.ones((2, 3), np.float32),
        )
        for factor in ([1.0, -2.0], [1.0, 2.0])
    )  # fmt: skip
    kept = without_flips({"large": {"w": largest}, "tuned": {"w": flipped}, "small": {"w": largest}})
    assert [list(found) for found in kept.values()] == [["w"], [], ["w"]]


def test_a_fine_tuned_weight_stays_in_its_graph_and_the_others_are_shared(supernet, tiers, images, tmp_path):
    space = supernet.model_space.space

    def finetune(module):
        module.head.conv.weight.add_(1e-3 * torch.randn(module.head.conv.weight.shape))

    tuned = tier(supernet, "tuned", space.largest, images, tmp_path, finetune)
    (tmp_path / "shared").mkdir()
    shared = share_weights([*tiers[:2], tuned], supernet_values(supernet), tmp_path / "shared")
    assert shared.graphs["tuned"].own == ((64, 32, 1, 1),)
    np.testing.assert_allclose(
        outputs(shared.graphs["tuned"].path, images), outputs(tuned.path, images), rtol=1e-4, atol=1e-5
    )


def test_a_graph_without_its_weights_or_with_truncated_ones_is_refused_by_name(shared, tmp_path):
    graph = tmp_path / shared.graphs["small"].path.name
    graph.write_bytes(shared.graphs["small"].path.read_bytes())
    with pytest.raises(EngineError, match=rf"{graph.name}: ONNX Runtime refuses the file .*{shared.weights.name}"):
        get_engine("onnxruntime").load(graph, 1)
    (tmp_path / shared.weights.name).write_bytes(shared.weights.read_bytes()[:1000])
    with pytest.raises(EngineError, match=rf"{graph.name}: ONNX Runtime refuses the file"):
        get_engine("onnxruntime").load(graph, 1)


def test_a_kernel_of_a_learned_transform_is_not_shared_and_is_named(tmp_path):
    shapes = {"b.conv.weight": (16, 1, 5, 5), "b.matrices.5to3": (9, 9)}
    full = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    rule = KernelTransform(weight="conv.weight", matrices="matrices")
    plan = rule.plan((16, 1, 5, 5), (16, 1, 3, 3), "b.conv.weight")
    conv = nn.Conv2d(16, 16, 3, groups=16, bias=False)
    conv.weight = nn.Parameter(plan.take({name: torch.from_numpy(v) for name, v in full.items()}, "b.conv.weight"))
    export_onnx(conv.eval(), (16, 8, 8), tmp_path / "conv.onnx")
    (tmp_path / "shared").mkdir()
    tier = SharedTier(name="conv", path=tmp_path / "conv.onnx", plans={"b.conv.weight": plan})
    graph = share_weights([tier], full, tmp_path / "shared").graphs["conv"]
    assert (graph.own, graph.computed) == (((16, 1, 3, 3),), ("b.conv.weight",))
    inputs = torch.randn(2, 16, 8, 8)
    np.testing.assert_array_equal(outputs(graph.path, inputs), outputs(tier.path, inputs))


def test_no_tiers_are_refused(tmp_path):
    with pytest.raises(EngineError, match="pass at least one"):
        share_weights([], {}, tmp_path)


def test_a_factor_per_channel_is_found_and_any_other_difference_is_not():
    part = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    part[2] = 0
    factor = factor_between(part * np.array([[2], [-0.5], [9]], np.float32), part)
    assert factor is not None
    np.testing.assert_allclose(factor, [2, -0.5, 1], rtol=1e-6)
    assert factor_between(part + np.float32(1e-3), part) is None
    assert factor_between(part[:, :1] + 1, part[:, :1]) is None, "one value per channel would match anything"


def test_segments_of_a_fused_matrix_are_put_together_again(tmp_path):
    full = {"qkv.weight": np.random.default_rng(0).normal(size=(48, 24)).astype(np.float32)}
    rule, tiers = Segments(axis=0, count=3), []
    for size in (48, 24):
        plan = rule.plan((48, 24), (size, 24), "qkv.weight")
        linear = nn.Linear(24, size, bias=False)
        linear.weight = nn.Parameter(plan.of(torch.from_numpy(full["qkv.weight"])).contiguous())
        export_onnx(linear.eval(), (24,), tmp_path / f"{size}.onnx")
        tiers.append(SharedTier(name=str(size), path=tmp_path / f"{size}.onnx", plans={"qkv.weight": plan}))
    (tmp_path / "shared").mkdir()
    shared = share_weights(tiers, full, tmp_path / "shared")
    inputs = torch.randn(4, 24)
    for tier in tiers:
        assert shared.graphs[tier.name].own == ()
        np.testing.assert_allclose(outputs(shared.graphs[tier.name].path, inputs), outputs(tier.path, inputs), 1e-5)


def test_the_integers_of_every_part_are_safe_on_processors_that_add_two_products_in_16_bits():
    weight = np.zeros((1, 4, 1, 3), np.float32)
    weight[0, 1, 0, 0] = weight[0, 0, 0, 1] = 1.0  # neighbours in a network with two input channels, not with four
    integers = Quantised(values=np.rint(weight * 127).astype(np.int8), scale=np.full(1, 1 / 127, np.float32))
    matches = [
        Match(
            parameter="p", axes=tuple(np.arange(size) for size in (1, channels, 1, 3)), transposed=False,
            factor=np.ones(1), values=weight[:, :channels], quantised=integers,
        )
        for channels in (4, 2)
    ]  # fmt: skip
    (shared,) = unite({"p": weight}, [[match] for match in matches]).values()
    assert shared.quantised is not None
    rows = np.moveaxis(np.abs(shared.quantised.values[:, :2].astype(int)), 1, -1).ravel()
    assert (rows[1:] + rows[:-1]).max() <= 128
