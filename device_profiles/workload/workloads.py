"""The workloads of the subnets of a model space; each part of a chain is traced once. Imports torch only to trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import FileContent
from device_profiles.workload.link_parts import ABSENT
from device_profiles.workload.operators import Workload, totals_of
from device_profiles.workload.parts import ChainParts, encoded
from device_profiles.workload.pixel_input import pixel_input
from device_profiles.workload.stored import read_parts, write_parts
from factory_base.progress import Progress, silent
from supernet.chain import ChainModelSpace
from supernet.model_space import ModelSpace, takes_tokens
from supernet.space import SubnetConfig


class Workloads:
    """The workloads of one model space.

    Args:
        model_space: The model space.
        pixels: Whether files of its networks take pixels and hold the preprocessing (`supernet.pixels.PixelInput`).

    Attributes:
        model_space: The model space.
        pixels: Whether `of` includes the preprocessing of pixels. Parts, MACs and the largest workload never do.
        chain: Its parts if its networks are chains of parts; None otherwise.
    """

    def __init__(self, model_space: ModelSpace, *, pixels: bool = False) -> None:
        self.model_space = model_space
        self.pixels = pixels
        self.chain = ChainParts(model_space) if isinstance(model_space, ChainModelSpace) else None
        self._known: dict[SubnetConfig, Workload] = {}
        self._largest: Workload | None = None

    def of(self, subnet: SubnetConfig) -> Workload:
        """Return the workload of `subnet`. Raises `SpaceError` if it cannot be traced."""
        if subnet not in self._known:
            self._known[subnet] = self._traced(subnet)
        return self._known[subnet]

    def of_largest(self) -> Workload:
        """Return the workload of the largest subnet, traced as a whole even if the networks are chains of parts."""
        if self._largest is None:
            self._largest = workload_of(self.model_space, self.model_space.space.largest)
        return self._largest

    def save(self, path: Path, key: str) -> bool:
        """Write the parts that were traced so far to `path`, for `load`. Without a chain there is nothing to write.

        Args:
            path: The file.
            key: Identifies the code and the options behind the model space, whose choices and links do not tell all.

        Returns:
            Whether the file was written.

        Raises:
            DiskError: The file cannot be written.
        """
        if self.chain is None or not isinstance(self.model_space, ChainModelSpace):
            return False
        write_parts(path, self.chain, self.of_largest(), self.model_space, key)
        return True

    def load(self, path: Path, key: str) -> bool:
        """Take the parts that `save` wrote, without PyTorch. Nothing may have been traced yet.

        Args:
            path: The file.
            key: What was given to `save`.

        Returns:
            Whether they were taken. They are not if the file is missing, damaged or edited, or was written for another
            model space or key, or by another version of PyTorch or of the code that traces.
        """
        if self.chain is None or not isinstance(self.model_space, ChainModelSpace):
            return False
        known = read_parts(path, self.model_space, key)
        if known is None or not self.chain.restore(known.parts, known.tables):
            return False
        self._largest = known.largest
        return True

    def macs_of(self, vectors: NDArray[np.integer], progress: Progress = silent) -> NDArray[np.float64]:
        """Return the MACs of many subnets.

        Args:
            vectors: Subnets as `SearchSpace.encode` returns them, (subnets, choices).
            progress: Called for each subnet that has to be traced first.

        Returns:
            (subnets,).

        Raises:
            SpaceError: A subnet cannot be traced, or the vectors belong to another space.
        """
        if self.chain is None:
            subnets = [self.model_space.space.decode(tuple(int(i) for i in vector)) for vector in vectors]
            counted = []
            for done, subnet in enumerate(subnets):
                counted.append(self.of(subnet).macs)
                progress(done + 1, len(subnets), "")
            return np.array(counted, dtype=np.float64)
        self.chain.learn(vectors, progress)
        macs = np.array([[part.workload.macs] for part in self.chain.parts] + [[0]], dtype=np.float64)
        return sum((found[:, 0] for found in self.chain.gather(vectors, macs)), np.zeros(len(vectors)))

    def rows(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.int32]:
        """Return part numbers, (subnets, links), as `ChainParts.rows` does; (subnets, 0) if there is no chain."""
        if self.chain is None:
            return np.empty((len(subnets), 0), dtype=np.int32)
        return self.chain.rows(encoded(self.model_space.space, subnets))

    def _traced(self, subnet: SubnetConfig) -> Workload:
        if self.chain is None:
            parts = [workload_of(self.model_space, subnet)]
        else:
            numbers = self.rows([subnet])[0]
            parts = [self.chain.parts[number].workload for number in numbers if number != ABSENT]
        return joined([pixel_input(parts[0]), *parts] if self.pixels else parts)


def joined(parts: Sequence[Workload]) -> Workload:
    """Return the workload of a chain, in which each part takes the output of the one before."""
    operators = tuple(operator for part in parts for operator in part.operators)
    return Workload(
        operators=operators,
        macs=sum(part.macs for part in parts),
        weight_elements=sum(part.weight_elements for part in parts),
        arena_elements=max(part.arena_elements for part in parts),
        input_elements=parts[0].input_elements,
        input_shape=parts[0].input_shape,
        output_shape=parts[-1].output_shape,
        file_content=FileContent.total(part.file_content for part in parts),
        totals=totals_of(operators),
    )


def workload_of(model_space: ModelSpace, subnet: SubnetConfig) -> Workload:
    """Return the workload of a subnet, traced as a whole. Its network is built without memory for weights.

    Raises:
        SpaceError: The network cannot be traced.
    """
    import torch

    from device_profiles.workload.tracing import trace
    from supernet.sharing.blueprint import build_unweighted

    with torch.device("meta"):
        module = build_unweighted(model_space, subnet)
    return trace(module, model_space.input_shape(subnet), tokens=takes_tokens(model_space))
