"""The workloads of a model space's subnets, each part of a network traced once. Imports torch to trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.workload.file_size import FileContent
from device_profiles.workload.operators import Workload, totals_of
from device_profiles.workload.parts import ABSENT, ChainParts, encoded
from supernet.chain import ChainModelSpace
from supernet.model_space import ModelSpace
from supernet.space import SubnetConfig


class Workloads:
    """The workloads of one model space.

    Attributes:
        model_space: whose.
        chain: its parts, where its networks are chains of them; None otherwise.
    """

    def __init__(self, model_space: ModelSpace) -> None:
        self.model_space = model_space
        self.chain = ChainParts(model_space) if isinstance(model_space, ChainModelSpace) else None
        self._known: dict[SubnetConfig, Workload] = {}

    def of(self, subnet: SubnetConfig) -> Workload:
        """The workload of `subnet`. Raises `SpaceError` when it cannot be traced."""
        if subnet not in self._known:
            self._known[subnet] = self._traced(subnet)
        return self._known[subnet]

    def rows(self, subnets: Sequence[SubnetConfig]) -> NDArray[np.int32]:
        """Part numbers, (subnets, links) as `ChainParts.rows` gives them; (subnets, 0) where there is no chain."""
        if self.chain is None:
            return np.empty((len(subnets), 0), dtype=np.int32)
        return self.chain.rows(encoded(self.model_space.space, subnets))

    def _traced(self, subnet: SubnetConfig) -> Workload:
        if self.chain is None:
            return workload_of(self.model_space, subnet)
        numbers = self.rows([subnet])[0]
        return joined([self.chain.parts[number].workload for number in numbers if number != ABSENT])


def joined(parts: Sequence[Workload]) -> Workload:
    """The workload of a chain: each part takes what the one before gives."""
    operators = tuple(operator for part in parts for operator in part.operators)
    return Workload(
        operators=operators,
        macs=sum(part.macs for part in parts),
        weight_elements=sum(part.weight_elements for part in parts),
        arena_elements=max(part.arena_elements for part in parts),
        input_elements=parts[0].input_elements,
        input_shape=parts[0].input_shape,
        output_shape=parts[-1].output_shape,
        file_content=FileContent(
            fp32=sum(part.file_content.fp32 for part in parts), int8=sum(part.file_content.int8 for part in parts)
        ),
        totals=totals_of(operators),
    )


def workload_of(model_space: ModelSpace, subnet: SubnetConfig) -> Workload:
    """The workload of a subnet, traced as a whole; its network is built without memory for weights.

    Raises:
        SpaceError: the network cannot be traced.
    """
    import torch

    from device_profiles.workload.tracing import trace
    from supernet.sharing.blueprint import build_unweighted

    with torch.device("meta"):
        module = build_unweighted(model_space, subnet)
    return trace(module, model_space.input_shape(subnet))
