"""Arrays of labels, predictions and confidences as files."""

from __future__ import annotations

import numpy as np
import pytest

from exports.family.npy import npy_bytes, read_answers, read_array
from factory_base.errors import ManifestError


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 65535]), "<u2"),
        (np.array([[1, 0, 1], [0, 0, 1]]), "|u1"),
        (np.array([0.25, 1.0]), "<f4"),
        (np.asfortranarray([[0.5, -1.0], [2.0, 3.0], [4.0, 5.0]]), "<f4"),
    ],
)
def test_an_array_is_read_as_it_was_written(values, dtype):
    found = read_array(npy_bytes(values), "x", dtype, values.ndim)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(dtype)


@pytest.mark.parametrize("other", [np.zeros(3), np.zeros((3, 1)), np.zeros((3, 2), int)])
def test_an_array_of_another_type_or_number_of_dimensions_is_refused(other):
    with pytest.raises(ManifestError, match=r"labels\.npy: is not an NPY file of uint16 with one dimension"):
        read_answers(npy_bytes(other), "labels.npy", "classes")


def test_a_table_in_the_order_of_fortran_is_refused():
    data = npy_bytes(np.zeros((2, 2))).replace(b"'fortran_order': False", b"'fortran_order': True ")
    with pytest.raises(ManifestError, match="float32 with 2 dimensions in C order"):
        read_array(data, "x.npy", "<f4", 2)


def test_a_table_that_is_shorter_than_its_header_states_is_refused():
    with pytest.raises(ManifestError, match="its header states 6 values"):
        read_array(npy_bytes(np.zeros((3, 2)))[:-4], "x.npy", "<f4", 2)
