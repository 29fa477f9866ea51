"""What every engine must do. The tests of an engine inherit `EngineConformance` and name the engine."""

import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

from exports.engines import get_engine
from exports.family.parity import check_parity
from factory_base.errors import EngineError
from supernet.pixels import PixelInput

IMAGE, TOKENS = (3, 12, 12), (5, 8)


def batch(count, shape=IMAGE):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


def convolution_part():
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.Hardswish(), nn.Conv2d(6, 10, 1))
    return nn.Sequential(*layers).eval()


def token_part():
    torch.manual_seed(0)
    return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)).eval()


class EngineConformance:
    name: str
    """The name of the engine."""
    module: str
    """The import name of its library."""
    hint: str
    """What the error says about installing the library, a regular expression."""

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls):
        return get_engine(cls.name)

    @pytest.fixture(scope="class")
    @classmethod
    def converted(cls, engine, tiny_net, tmp_path_factory):
        path = tmp_path_factory.mktemp(cls.name) / f"net.{cls.name}"
        engine.convert(tiny_net, IMAGE, path)
        return path

    def test_it_states_its_name_version_precisions_and_limits(self, engine):
        assert engine.name == self.name
        assert engine.version()[0].isdigit()
        assert "fp32" in engine.precisions
        assert engine.limits()

    def test_a_file_computes_what_the_module_computes(self, engine, converted, tiny_net):
        assert check_parity(tiny_net, engine.load(converted, 1), batch(16)).sqnr_db > 60

    @pytest.mark.parametrize(("part", "shape"), [(convolution_part, IMAGE), (token_part, TOKENS)])
    def test_parts_of_networks_have_inputs_and_outputs_of_any_shape(self, engine, part, shape, tmp_path):
        module, inputs = part(), batch(3, shape)
        engine.convert(module, shape, tmp_path / "part")
        found = engine.load(tmp_path / "part", 1).run(inputs)
        with torch.no_grad():
            expected = module(torch.from_numpy(inputs)).numpy()
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_a_file_can_take_the_pixels_of_an_image(self, engine, tiny_net, tmp_path):
        module = PixelInput(tiny_net, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
        engine.convert(module, (12, 12, 3), tmp_path / "net", input_type="uint8")
        session = engine.load(tmp_path / "net", 1)
        pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)
        assert check_parity(module, session, pixels).sqnr_db > 60
        with pytest.raises(EngineError, match=r"got float32 .*, expected uint8 \('n', 12, 12, 3\)"):
            session.run(pixels.astype(np.float32))

    def test_the_same_input_gives_the_same_bits(self, engine, converted):
        first, second = engine.load(converted, 2), engine.load(converted, 2)
        assert first.run(batch(4)).tobytes() == first.run(batch(4)).tobytes() == second.run(batch(4)).tobytes()

    def test_an_answer_outlives_the_next_run(self, engine, converted):
        session = engine.load(converted, 1)
        answer = session.run(batch(1))
        kept = answer.copy()
        session.run(batch(2)[1:])
        np.testing.assert_array_equal(answer, kept)

    def test_inputs_of_any_memory_layout_are_read_alike(self, engine, converted):
        session, inputs = engine.load(converted, 1), batch(4)
        strided = np.asfortranarray(inputs)
        np.testing.assert_array_equal(session.run(strided[::2]), session.run(inputs[::2].copy()))

    def test_peak_memory_is_unknown_or_at_least_the_largest_activation(self, engine, converted):
        peak = engine.load(converted, 1).peak_memory_bytes()
        assert peak is None or 8 * 12 * 12 * 4 <= peak < 1 << 20

    def test_kernel_times_are_unknown_or_cover_the_kinds_of_the_network(self, engine, converted):
        times = engine.load(converted, 1).kernel_latency_us(batch(1))
        assert times is None or {"conv", "depthwise", "linear", "pool"} <= times.keys()
        assert times is None or sum(times.values()) > 0

    @pytest.mark.parametrize("wrong", [batch(1).astype(np.float64), batch(1)[:, :2], batch(1)[0], batch(1)[:0]])
    def test_an_input_of_another_shape_or_type_is_refused(self, engine, converted, wrong):
        session = engine.load(converted, 1)
        for ask in (session.run, session.kernel_latency_us):
            with pytest.raises(EngineError, match=r"expected float32 \('n', 3, 12, 12\)"):
                ask(wrong)

    @pytest.mark.parametrize("content", [b"", b"not a model", None])
    def test_a_file_it_cannot_read_is_refused_in_one_line(self, engine, converted, content, tmp_path):
        path = tmp_path / "broken"
        path.write_bytes(converted.read_bytes()[:700] if content is None else content)
        with pytest.raises(EngineError, match=r"broken: .* refuses the file") as caught:
            engine.load(path, 1)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_not_there_is_refused(self, engine, tmp_path):
        with pytest.raises(EngineError, match=r"nowhere: .* refuses the file"):
            engine.load(tmp_path / "nowhere", 1)

    def test_zero_threads_are_refused(self, engine, converted):
        with pytest.raises(EngineError, match="0 threads"):
            engine.load(converted, 0)

    def test_an_unknown_precision_is_refused_before_anything_is_written(self, engine, tiny_net, tmp_path):
        with pytest.raises(EngineError, match=f"'{self.name}' cannot convert to 'int3'; it supports: fp32"):
            engine.convert(tiny_net, IMAGE, tmp_path / "net", precision="int3")
        assert not list(tmp_path.iterdir())

    def test_what_it_cannot_express_leaves_no_file(self, engine, tmp_path):
        class Branching(nn.Module):
            def forward(self, x):
                return x if x.sum() > 0 else -x

        with pytest.raises(EngineError, match="Branching"):
            engine.convert(Branching().eval(), IMAGE, tmp_path / "net")
        assert not list(tmp_path.iterdir())

    def test_a_missing_library_says_how_to_install_it(self, engine, converted, monkeypatch):
        monkeypatch.setitem(sys.modules, self.module, None)
        for ask in (engine.version, lambda: engine.load(converted, 1)):
            with pytest.raises(EngineError, match=self.hint):
                ask()

    def test_it_prints_nothing(self, engine, tiny_net, tmp_path, capfd):
        engine.convert(tiny_net, IMAGE, tmp_path / "net")
        engine.load(tmp_path / "net", 1).run(batch(1))
        os.write(1, b"this is seen")
        assert capfd.readouterr() == ("this is seen", "")
