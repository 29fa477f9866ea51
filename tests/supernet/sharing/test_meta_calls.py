"""The shortcuts to shapes on the meta device, compared with PyTorch."""

from __future__ import annotations

import pytest
import torch

from supernet.sharing.meta_calls import run_on_meta

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.mean.dim, (meta(2, 3, 4, 5), [2, 3])),
        (aten.mean.dim, (meta(2, 3, 4, 5), [-1, 1], True)),
        (aten.mean.dim, (meta(2, 3), [])),
        (aten.mean.dim, (meta(2, 3), None, True)),
        (aten.mean.default, (meta(2, 3),)),
        (aten.mean.dim, (meta(2, 3, dtype=torch.float16), [0])),
        (aten.mm.default, (meta(2, 3), meta(3, 4))),
        (aten.addmm.default, (meta(4), meta(2, 3), meta(3, 4))),
        (aten.addmm.default, (meta(1), meta(2, 3), meta(3, 4))),
        (aten.addmm.default, (meta(2, 4), meta(2, 3), meta(3, 4))),
        (aten.bmm.default, (meta(7, 2, 3), meta(7, 3, 4))),
        (aten.baddbmm.default, (meta(7, 1, 4), meta(7, 2, 3), meta(7, 3, 4))),
        (aten.add.Tensor, (meta(2, 3, 1, 1), meta(2, 3, 4, 5))),
        (aten.mul.Tensor, (meta(5), meta(2, 3, 4, 1))),
        (aten.mul.Tensor, (meta(2, 1, 4), meta(3, 1))),
        (aten.mul.Tensor, (meta(), meta(3, 0))),
        (aten.add.Tensor, (meta(2, dtype=torch.int64), meta(2))),
    ],
)
def test_a_shortcut_gives_the_shape_and_type_that_pytorch_gives(func, args) -> None:
    found, expected = run_on_meta(func, args, {}), func(*args)
    assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.mm.default, (meta(2, 3), meta(4, 3))),
        (aten.addmm.default, (meta(3), meta(2, 3), meta(3, 4))),
        (aten.bmm.default, (meta(7, 2, 3), meta(6, 3, 4))),
        (aten.add.Tensor, (meta(2, 3), meta(2, 4))),
        (aten.mean.dim, (meta(2, 3, dtype=torch.int64), [0])),
    ],
)
def test_what_pytorch_refuses_is_refused(func, args) -> None:
    with pytest.raises(RuntimeError):
        run_on_meta(func, args, {})
