import pytest
import torch
from torch import Tensor, nn

from device_profiles.workload.operators import KERNEL_KINDS, Workload
from device_profiles.workload.tracing import trace
from factory_base.errors import SpaceError


def kinds(workload: Workload) -> list[str]:
    return [operator.kind for operator in workload.operators]


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Function(nn.Module):
    def __init__(self, function, **parameters: Tensor) -> None:
        super().__init__()
        self._function = function
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


@pytest.mark.parametrize(
    ("layer", "kind", "macs"),
    [
        (nn.Conv2d(8, 16, 3, stride=2, padding=1), "conv", 16 * 5 * 5 * 8 * 9),
        (nn.Conv2d(8, 16, 3, padding=2, dilation=2), "conv", 16 * 10 * 10 * 8 * 9),
        (nn.Conv2d(8, 16, 3, groups=2), "conv", 16 * 8 * 8 * 4 * 9),
        (nn.Conv2d(8, 16, 1), "pointwise", 16 * 10 * 10 * 8),
        (nn.Conv2d(8, 16, 5, padding="same", groups=8), "depthwise", 16 * 10 * 10 * 25),
        (nn.ConvTranspose2d(8, 4, 3, stride=2, output_padding=1), "conv", 8 * 10 * 10 * 4 * 9),
        (nn.Linear(10, 7), "linear", 8 * 10 * 10 * 7),
    ],
)
def test_a_layer_has_the_macs_of_its_formula_and_the_shape_that_torch_gives(
    layer: nn.Module, kind: str, macs: int
) -> None:
    (operator,) = trace(layer, (8, 10, 10)).operators
    assert (operator.kind, operator.macs) == (kind, macs)
    assert operator.input_elements == 800
    assert operator.output_elements == layer(torch.zeros(1, 8, 10, 10)).numel()
    assert operator.weight_elements == sum(parameter.numel() for parameter in layer.parameters())


def test_normalisation_and_activation_after_a_convolution_are_free() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
    (operator,) = trace(network, (3, 8, 8)).operators
    assert operator.weight_elements == 8 * 3 * 9 + 8  # the folded normalisation leaves a bias


def test_a_fused_activation_needs_to_be_the_only_consumer() -> None:
    convolution = nn.Conv2d(3, 3, 1)
    both = Function(lambda self, x: self.body(x) + self.body(x).relu())
    both.body = convolution
    twice = Function(lambda self, x: (y := self.body(x)) + y.relu())
    twice.body = convolution
    assert kinds(trace(both, (3, 4, 4))) == ["pointwise", "pointwise", "elementwise"]
    assert kinds(trace(twice, (3, 4, 4))) == ["pointwise", "elementwise", "elementwise"]


def test_zeros_around_an_image_are_part_of_the_convolution_that_reads_it() -> None:
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, stride=2))
    (operator,) = trace(network, (3, 8, 8)).operators
    assert (operator.kind, operator.input_elements, operator.output_elements) == ("conv", 192, 128)
    assert trace(network, (3, 8, 8)).arena_elements == 192 + 128


def test_zeros_that_something_else_reads_too_are_an_operator() -> None:
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), Residual(nn.Conv2d(3, 3, 3, padding=1)))
    assert kinds(trace(network, (3, 8, 8))) == ["elementwise", "conv", "elementwise"]
    assert kinds(trace(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), (3, 8, 8))) == ["elementwise", "pool"]


def test_hard_swish_and_a_second_activation_are_operators_of_their_own() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Hardswish(), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Sigmoid())
    assert kinds(trace(network, (3, 4, 4))) == ["pointwise", "elementwise", "pointwise", "elementwise"]


def test_normalisation_that_follows_no_convolution_is_an_operator() -> None:
    (operator,) = trace(nn.BatchNorm2d(4), (4, 6, 6)).operators
    assert operator.kind == "elementwise"
    assert operator.weight_elements == 4 * 4


def test_pools_means_and_views() -> None:
    network = nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout())
    workload = trace(network, (4, 16, 16))
    assert kinds(workload) == ["pool", "pool", "pool"]
    assert [operator.output_elements for operator in workload.operators] == [256, 64, 4]


def test_attention_is_counted_with_its_two_matrix_products() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu"))
    workload = trace(network, (6, 4, 4))
    projections = 6 * 16 * (3 * 16 + 16 + 2 * 32)
    assert workload.macs == projections + 2 * 6 * 6 * 16
    assert workload.weight_elements == sum(p.numel() for p in network.parameters())


def test_squeeze_and_excitation_multiplies_by_a_broadcast_gate() -> None:
    gate = Function(lambda self, x: x * torch.sigmoid(self.body(x.mean((2, 3), keepdim=True))))
    gate.body = nn.Conv2d(8, 8, 1)
    workload = trace(gate, (8, 5, 5))
    assert kinds(workload) == ["pool", "pointwise", "elementwise"]
    assert workload.operators[-1].output_elements == 200


def test_the_arena_of_a_chain_is_its_largest_neighbouring_pair() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 2, 1))
    assert trace(network, (3, 4, 4)).arena_elements == (8 + 16) * 16


def test_a_shortcut_keeps_its_input_alive() -> None:
    body = nn.Sequential(nn.Conv2d(4, 16, 1), nn.Conv2d(16, 4, 1))
    assert trace(body, (4, 4, 4)).arena_elements == (16 + 4) * 16
    assert trace(Residual(body), (4, 4, 4)).arena_elements == (4 + 16 + 4) * 16


def test_a_concatenation_copies_its_inputs() -> None:
    network = Function(lambda _, x: torch.cat([x.relu(), x], dim=1))
    workload = trace(network, (4, 4, 4))
    assert workload.operators[-1].input_elements == workload.operators[-1].output_elements == 128
    assert workload.arena_elements == 64 + 64 + 128


def test_a_split_is_a_view_and_keeps_the_whole_alive() -> None:
    network = Function(lambda _, x: (h := x.sigmoid().chunk(2, dim=1))[0].exp() * h[1].exp())
    workload = trace(network, (4, 4, 4))
    assert kinds(workload) == ["elementwise"] * 4
    assert workload.arena_elements == 64 + 64


def test_a_weight_used_twice_is_stored_once() -> None:
    network = Function(lambda self, x: x @ self.w @ self.w, w=torch.ones(4, 4))
    workload = trace(network, (4, 4))
    assert workload.weight_elements == 16
    assert [operator.weight_elements for operator in workload.operators] == [16, 16]


def test_what_depends_on_weights_alone_is_a_constant() -> None:
    network = Function(lambda self, x: x * (self.w.exp() + 1).softmax(0), w=torch.ones(4, 1, 1))
    workload = trace(network, (4, 2, 2))
    assert kinds(workload) == ["elementwise"]
    assert workload.weight_elements == 4


def test_writing_into_a_buffer_makes_it_an_activation() -> None:
    def pad(_: object, x: Tensor) -> Tensor:
        buffer = torch.zeros(1, 8, 4, 4, device=x.device)
        buffer[:, :4] = x
        return buffer * 2

    workload = trace(Function(pad), (4, 4, 4))
    assert kinds(workload) == ["elementwise", "elementwise"]
    assert workload.arena_elements == 2 * 128


@pytest.mark.parametrize("training", [True, False])
def test_tracing_leaves_a_real_module_as_it_was(training: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(8 * 36, 2))
    network.train(training)
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    real = trace(network, (3, 8, 8))
    assert [part.training for part in network] == [training, training, False, training, training]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert trace(network.to("meta"), (3, 8, 8)) == real


def test_a_compiled_layer_is_traced_as_it_was_written() -> None:
    layer = nn.Conv2d(3, 4, 3)
    compiled = torch.compile(layer, backend="eager")
    assert trace(compiled, (3, 8, 8)) == trace(layer, (3, 8, 8))


def test_totals_are_the_sums_of_the_operators() -> None:
    workload = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Hardswish()), (3, 8, 8))
    totals = dict(zip(KERNEL_KINDS, workload.totals, strict=True))
    assert totals["conv"].operators == 2
    assert totals["conv"].macs == workload.macs == sum(operator.macs for operator in workload.operators)
    assert totals["elementwise"].moved_elements == 2 * 8 * 4 * 4


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(4, 8, 3), "expects 4 channels, got 3"),
        (nn.Conv2d(3, 8, 9), "larger than its padded input"),
        (nn.Linear(9, 2), "cannot be traced with an input of shape"),
        (Function(lambda _, x: x.relu() if x.sum() > 0 else x), "control flow must not depend on the values"),
        (Function(lambda self, _: self.w * 2, w=torch.ones(3)), "does not depend on its input"),
    ],
)
def test_a_network_that_cannot_be_traced_is_refused_in_one_line(network: nn.Module, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        trace(network, (3, 8, 8))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
