"""Few subnets that together have every part of a chain: most of the time of tracing goes into building networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.link_parts import LinkParts


def covering(places: Sequence[LinkParts], columns: int) -> Iterator[NDArray[np.int64]]:
    """Yield vectors of subnets that together have all parts that are not known, as many new ones each as is easy.

    Each vector takes one missing combination of options after the other that agrees with those taken before, beginning
    with the link that misses most. All other choices have the smallest option, so that networks are small.

    Args:
        places: The links of the chain.
        columns: Number of choices of the space.

    Yields:
        (columns,).
    """
    missing = [place.missing() for place in places]
    counts = [int(table.sum()) for table in missing]
    for _ in range(sum(counts)):  # each vector has at least one new part
        if not any(counts):
            return
        vector = _vector(places, missing, counts, columns)
        for number, place in enumerate(places):
            at = int(place.index(vector[None])[0])
            if at < place.combinations and missing[number].flat[at]:
                missing[number].flat[at] = False
                counts[number] -= 1
        yield vector


def each_combination(places: Sequence[LinkParts], columns: int) -> NDArray[np.int64]:
    """Return small subnets that together have every part: each link goes through all its combinations.

    Args:
        places: The links of the chain.
        columns: Number of choices of the space.

    Returns:
        (subnets, columns).
    """
    vectors = []
    for place in places:
        for indices in np.argwhere(place.combinations_with_part()).tolist():
            needs = place.needs_of(indices)
            at = {column: max(first for other, first in needs if other == column) for column, first in needs}
            at |= dict(zip(place.columns, indices, strict=True))
            vectors.append([at.get(column, 0) for column in range(columns)])
    return np.array(vectors, dtype=np.int64).reshape(len(vectors), columns)


def _vector(
    places: Sequence[LinkParts], missing: Sequence[NDArray[np.bool_]], counts: Sequence[int], columns: int
) -> NDArray[np.int64]:
    fixed: dict[int, int] = {}
    least: dict[int, int] = {}
    for number in sorted(range(len(places)), key=lambda number: -counts[number]):
        place = places[number]
        indices = _consistent(missing[number], place.columns, fixed, least) if counts[number] else None
        if indices is None:
            continue
        taken = fixed | dict(zip(place.columns, indices, strict=True))
        needs = place.needs_of(indices)
        if all(taken.get(column, first) >= first for column, first in needs):
            fixed = taken
            for column, first in needs:
                least[column] = max(first, least.get(column, 0))
    return np.array([fixed.get(column, least.get(column, 0)) for column in range(columns)], dtype=np.int64)


def _consistent(
    missing: NDArray[np.bool_], columns: Sequence[int], fixed: Mapping[int, int], least: Mapping[int, int]
) -> list[int] | None:
    """The first missing combination with the `fixed` indices, and at least the `least`; None if there is none."""
    starts = [fixed.get(column, least.get(column, 0)) for column in columns]
    ends = [fixed[column] + 1 if column in fixed else None for column in columns]
    open_ones = missing[tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))]
    first = int(open_ones.argmax()) if open_ones.size else 0
    found = np.unravel_index(first, open_ones.shape) if open_ones.size else ()
    if not open_ones.size or not open_ones[found]:
        return None
    return [start + int(index) for start, index in zip(starts, found, strict=True)]
