"""Scored subnets: results per image, their uncertainty, and comparisons on the same images."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest

from search.scored import Scored, paired_difference
from search.variant import Variant, variant_of
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace((Choice(name="width", options=(8, 16)),))


def scored(text: str) -> Scored:
    """`scored("1101")`: three of four images are labelled correctly."""
    return Scored.of(SPACE.smallest, [digit == "1" for digit in text])


@pytest.mark.parametrize(
    ("results", "correct"), [("1", "1"), ("0", "0"), ("1000", "8"), ("10000", "10"), ("00001", "01"), ("0" * 9, "000")]
)
def test_the_first_image_is_the_highest_bit(results: str, correct: str) -> None:
    assert scored(results).correct == correct


def test_a_value_equals_the_one_with_the_same_results() -> None:
    whole = Scored(subnet=SPACE.smallest, images=5, correct="1a")
    assert scored("11010") == whole
    assert hash(scored("11010")) == hash(whole)
    assert whole.accuracy == 3 / 5


@pytest.mark.parametrize(("images", "correct"), [(0, ""), (4, ""), (4, "10"), (5, "20"), (4, "F"), (4, "+1"), (-1, "")])
def test_bits_that_do_not_fit_the_number_of_images_are_refused(images: int, correct: str) -> None:
    with pytest.raises(ValueError, match=f"is not a hexadecimal number of {images} bits"):
        Scored(subnet=SPACE.smallest, images=images, correct=correct)


def test_no_results_are_refused() -> None:
    with pytest.raises(ValueError, match="of 0 bits"):
        scored("")


def test_the_first_images_are_a_prefix() -> None:
    text = "".join(random.Random(0).choice("01") for _ in range(37))
    assert all(scored(text).first(images) == scored(text[:images]) for images in range(1, 38))


@pytest.mark.parametrize("images", [0, 5])
def test_more_images_than_were_scored_are_refused(images: int) -> None:
    with pytest.raises(ValueError, match=f"{images} of 4 images; expected 1 to 4"):
        scored("1101").first(images)


@pytest.mark.parametrize(
    ("start", "more", "joined"),
    [(4, "01", "110101"), (2, "1010", "110110"), (0, "000000", "110100"), (1, "00", "1101"), (0, "0", "1101")],
)
def test_results_that_are_known_already_are_kept(start: int, more: str, joined: str) -> None:
    assert scored("1101").extended(start, scored(more)) == scored(joined)


def test_results_after_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="from image 5 do not follow 4 images"):
        scored("1101").extended(5, scored("1"))


def test_the_standard_error_is_that_of_a_binomial_and_never_zero() -> None:
    half = scored("10" * 500)
    assert half.std == pytest.approx(math.sqrt(0.25 / 1000), rel=0.01)
    assert 0 < scored("1" * 1000).std < half.std / 10
    assert scored("1" * 1000).std == scored("0" * 1000).std


def test_two_subnets_are_compared_on_the_images_that_both_have() -> None:
    mean, _ = paired_difference(scored("1110"), scored("0111" + "0" * 90))
    assert mean == 0
    assert paired_difference(scored("1111"), scored("0111" + "1" * 90))[0] == 0.25
    assert paired_difference(scored("0111"), scored("1111"))[0] == -0.25


def test_the_standard_error_of_a_difference_is_that_of_the_paired_results() -> None:
    rng = random.Random(0)
    hard = [rng.random() for _ in range(4000)]
    a, b = (Scored.of(SPACE.smallest, [rng.gauss(skill, 0.05) > h for h in hard]) for skill in (0.9, 0.8))
    mean, std = paired_difference(a, b)
    gains = [int(x) - int(y) for x, y in zip(*(format(int(s.correct, 16), "04000b") for s in (a, b)), strict=True)]
    assert mean == pytest.approx(sum(gains) / 4000)
    assert std == pytest.approx(math.sqrt(sum((g - mean) ** 2 for g in gains) / 4000 / 4000), rel=0.01)
    assert std < 0.7 * math.hypot(a.std, b.std)


def test_equal_results_leave_an_uncertainty() -> None:
    mean, std = paired_difference(scored("1" * 98), scored("1" * 98))
    assert mean == 0
    assert std == pytest.approx(math.sqrt(2) / 100)


def test_importing_it_imports_nothing_heavy() -> None:
    script = "import sys, search.scored; print({'torch', 'optuna', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_score_of_a_file_names_its_precision() -> None:
    scored = Scored.of_file(SPACE.smallest, [True, False], "int8")
    assert (scored.variant, scored.precision, scored.is_of_file) == ("int8 file", "int8", True)
    assert variant_of(scored) == Variant(subnet=SPACE.smallest, precision="int8")
    assert not Scored.of(SPACE.smallest, [True]).is_of_file


def graded(*results: float) -> Scored:
    return Scored.of(SPACE.smallest, results)


def test_scores_that_are_numbers_are_kept_as_float32() -> None:
    found = graded(0.5, 1.0, -0.25)
    assert found.is_graded
    assert list(found.scores) == [0.5, 1.0, -0.25]
    assert found == Scored(subnet=SPACE.smallest, images=3, correct="x" + "3f000000" + "3f800000" + "be800000")
    assert found.accuracy == pytest.approx(1.25 / 3)
    assert found.first(2) == graded(0.5, 1.0)


def test_bits_and_numbers_of_one_subnet_join() -> None:
    whole = scored("10").extended(2, graded(0.5))
    assert list(whole.scores) == [1.0, 0.0, 0.5]
    assert graded(0.5).extended(0, scored("11")) == graded(0.5, 1.0)


def test_numbers_are_compared_image_by_image_as_bits_are() -> None:
    nearly = 1e-30  # as a number, and yet as good as 0
    mean, error = paired_difference(graded(1.0, nearly, 1.0, 1.0), graded(1.0, 1.0, nearly, nearly))
    expected = paired_difference(scored("1011"), scored("1100"))
    assert (mean, error) == pytest.approx(expected)
    assert graded(1.0, nearly, 1.0).std == pytest.approx(scored("101").std)


@pytest.mark.parametrize("correct", ["x3f0000", "x3f00000000", "x7fc00000", "x7f800000", "xzz000000"])
def test_numbers_that_are_damaged_are_refused(correct: str) -> None:
    with pytest.raises(ValueError, match=r"finite numbers|non-hexadecimal"):
        Scored(subnet=SPACE.smallest, images=1, correct=correct)
