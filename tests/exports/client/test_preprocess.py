import numpy as np
import pytest
import torch
from PIL import Image

from exports.client.python.preprocess import fit, model_input

MEAN, STD = (485_000, 456_000, 406_000), (229_000, 224_000, 225_000)


def image(height, width):
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 24), (32, 32, 48), (20, 31, 16), (8, 8, 1), (16, 16, 16)]
)
def test_the_model_input_is_what_pytorch_computes(height, width, size):
    pixels = image(height, width)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(values)[None, :, None, None] / 1e6 for values in (MEAN, STD))
    resized = torch.nn.functional.interpolate(tensor, (size, size), mode="bilinear", align_corners=False)
    found = model_input(pixels, size, MEAN, STD)
    assert (found.dtype, found.shape) == (np.float32, (3, size, size))
    np.testing.assert_allclose(found, ((resized - mean) / std)[0].numpy(), atol=1e-5)


def test_black_and_white_are_normalised():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, :, 0] = 255
    found = model_input(pixels, 4, (500_000, 500_000, 0), (250_000, 500_000, 1_000_000))
    np.testing.assert_array_equal(found[:, 0, 0], [2.0, -1.0, 0.0])


@pytest.mark.parametrize(("height", "width"), [(40, 60), (100, 33), (10, 12), (24, 24)])
def test_fit_resizes_to_the_base_size_like_pillow(height, width):
    pixels = image(height, width)
    expected = np.asarray(Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
    found = fit(pixels, 24, 24)
    assert found.shape == (24, 24, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
