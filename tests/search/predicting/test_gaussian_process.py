"""Gaussian process regression with known noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from search.predicting.gaussian_process import GaussianProcess, Kernel


@pytest.fixture
def line() -> np.ndarray:
    return np.linspace(-1, 1, 30)


def kernels(x: np.ndarray) -> list[Kernel]:
    return [Kernel(matrix=np.outer(x, x), typical=0.3), Kernel(matrix=np.eye(len(x)), typical=0.3)]


def test_the_scales_are_those_of_the_data(line) -> None:
    values = 0.5 + 0.02 * line + 0.001 * np.random.default_rng(0).standard_normal(30)
    process = GaussianProcess(values, np.zeros((30, 30)), kernels(line), float(values.std()))
    assert process.variances[0] ** 0.5 == pytest.approx(0.02, rel=0.5)
    assert process.variances[1] ** 0.5 == pytest.approx(0.001, rel=0.3)


def test_known_noise_is_not_explained_twice(line) -> None:
    values = 0.5 + 0.01 * np.random.default_rng(0).standard_normal(30)
    process = GaussianProcess(values, 1e-4 * np.eye(30), kernels(line), float(values.std()))
    assert (process.variances < 0.3e-4).all()


def test_weights_and_inverse_solve_the_equations(line) -> None:
    values = 0.3 + 0.1 * line
    process = GaussianProcess(values, 1e-6 * np.eye(30), kernels(line), 0.05)
    np.testing.assert_allclose(process.inverse @ (values - process.centre), process.weights, rtol=1e-6, atol=1e-6)
    prediction = process.centre + process.constant_variance * process.weights.sum()
    assert prediction == pytest.approx(0.3, abs=1e-3)


def test_the_gradient_of_the_likelihood_is_right(line) -> None:
    process = GaussianProcess(np.sin(line), 1e-3 * np.eye(30), kernels(line), 0.5)
    typical = np.log([0.3, 0.3])
    for logs in ([-1.0, -2.0], [0.5, -0.1]):
        error = check_grad(
            lambda x: process._loss(x, typical)[0], lambda x: process._loss(x, typical)[1], np.array(logs)
        )
        assert error < 1e-2
