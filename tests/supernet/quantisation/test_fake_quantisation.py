"""Fake quantisation: where it rounds, how, and how close it comes to the int8 file in ONNX Runtime."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exports.engines import get_engine
from factory_base.errors import DataError, SpaceError
from supernet.evaluation.evaluation import predict
from supernet.quantisation.arithmetic import Range, range_of, rounded_activation, rounded_weight
from supernet.quantisation.calls import INPUT, find_places
from supernet.quantisation.fake import FakeQuantised, calibrate_ranges, fake_quantised
from supernet.spaces.transformer import Block

SHAPE = (3, 12, 12)
IMAGES = torch.randn(96, *SHAPE, generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """A residual sum, squeeze-and-excitation by functional calls, hard-swish and a convolution that is read twice."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.expand(x))
        gate = functional.hardsigmoid(self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + functional.hardswish(y) * gate


class Attentive(nn.Module):
    """Patches and a transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block, self.classifier = nn.Conv2d(3, 16, 4, 4), Block(16, 2, 8, 32, 0.1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True), Gated(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def spread(make: type[nn.Module] | object) -> nn.Module:
    """A network in evaluation mode with seeded weights and statistics."""
    torch.manual_seed(0)
    module = make().train()  # type: ignore[operator]
    with torch.no_grad():
        for _ in range(5):
            module(torch.randn(32, *SHAPE))
    return module.eval()


@pytest.mark.parametrize("make", [convolutional, Attentive])
def test_it_computes_what_the_file_computes(make, tmp_path) -> None:
    network, engine = spread(make), get_engine("onnxruntime")
    engine.convert(network, SHAPE, tmp_path / "int8.onnx", precision="int8", calibration=IMAGES[:64].numpy())
    of_file = torch.from_numpy(engine.load(tmp_path / "int8.onnx", 1).run(IMAGES[64:].numpy()))
    quantised = fake_quantised(network, IMAGES[:64])
    with torch.no_grad():
        exact, computed = network(IMAGES[64:]), quantised(IMAGES[64:])
    assert (of_file - exact).abs().mean() > 0.003 * exact.std()  # there is something to predict
    assert (computed - of_file).abs().mean() < 0.7 * (of_file - exact).abs().mean()
    assert (computed.argmax(1) == of_file.argmax(1)).float().mean() > 0.95


def test_a_relu_is_part_of_the_product_and_a_last_matrix_product_stays_float() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2)).eval()
    places = find_places(network, IMAGES[:2])
    assert places.calls == ("conv2d", "relu", "flatten", "linear")
    assert places.values == {INPUT, (1, "output"), (2, "output")}
    assert places.weights == {(0, "weight"), (3, "weight")}


def test_an_output_with_two_readers_is_rounded_before_its_relu() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y + y.relu()

    assert find_places(Twice().eval(), IMAGES[:2]).values == {INPUT, (0, "output"), (1, "output")}


def test_a_value_within_the_range_moves_by_half_a_step_and_zero_does_not_move() -> None:
    x = torch.cat([torch.linspace(-1, 3, 1000), torch.zeros(1)])
    limits = range_of(x)
    with torch.no_grad():
        rounded = rounded_activation(x, limits)
    assert (rounded - x).abs().max() <= limits.scale / 2 * 1.001
    assert (rounded[-1].item(), len(rounded.unique())) == (0, 256)
    assert range_of(torch.ones(3), limits) == limits
    assert Range(low=0, high=0).scale == 1


def test_gradients_pass_through_rounding_but_not_through_clipping() -> None:
    x = torch.tensor([-0.5, 0.3, 0.9, 1.7], requires_grad=True)
    rounded_activation(x, Range(low=0, high=1)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_weights_have_255_values_for_each_channel_unless_neighbours_could_overflow() -> None:
    weight = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [100.0], [0.0]])
    pairs = (weight[:, 1:].abs() + weight[:, :-1].abs()).amax(1, keepdim=True)
    for multiplied, largest in ((False, weight.abs().amax(1, keepdim=True)), (True, pairs)):
        rounded = rounded_weight(weight, 0, multiplied=multiplied)
        step = largest / 127
        assert ((rounded - weight).abs() <= step / 2 * 1.001).all()
        assert torch.allclose(rounded[:2] / step[:2], (rounded[:2] / step[:2]).round(), atol=1e-3)
        assert torch.equal(rounded[2], weight[2])


def test_the_input_and_the_network_are_not_changed() -> None:
    network = spread(convolutional)
    state, images = copy.deepcopy(network.state_dict()), IMAGES[:8].clone()
    quantised = fake_quantised(network, IMAGES)
    with torch.no_grad():
        quantised(images)
    assert torch.equal(images, IMAGES[:8])
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    again = fake_quantised(network, IMAGES, quantised.ranges)
    assert (predict(again, IMAGES) == predict(copy.deepcopy(quantised), IMAGES)).all()


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.flatten(1).numpy())


class Wavering(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > 0 else x.abs().relu()


class Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x[:, 0], x[:, 1], x[:, 2])[0]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Custom().eval(), "NumPy and TorchScript hide them"),
        (Headed().eval(), "MultiheadAttention"),
        (nn.Flatten().train(), "training mode"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(module, message) -> None:
    with pytest.raises(SpaceError, match=message):
        calibrate_ranges(module, IMAGES[:4])


def test_calls_that_depend_on_the_inputs_are_refused() -> None:
    ranges = calibrate_ranges(Wavering().eval(), IMAGES.abs())
    with pytest.raises(SpaceError, match="is abs, but was relu when"):
        FakeQuantised(Wavering().eval(), ranges)(-IMAGES.abs())


def test_values_that_are_not_finite_are_refused_with_the_call_that_returned_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(400, 2)).eval()
    with torch.no_grad():
        network[0].bias[1] = torch.inf
    with pytest.raises(DataError, match=r"call 0 \(conv2d\) is NaN or infinite"):
        calibrate_ranges(network, IMAGES)
    with pytest.raises(DataError, match="at least one training example"):
        calibrate_ranges(network, IMAGES[:0])
