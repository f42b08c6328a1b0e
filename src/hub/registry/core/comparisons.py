"""Comparisons of contracts ahead of the bookkeeping that needs them: it awaits nothing, and a big contract takes a second."""

from __future__ import annotations

from functools import partial

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract
from hub.registry.core.contracts import ContractRegistry
from hub.types import ModelName


def weight(*contracts: Contract) -> int:
    """The size of work on contracts, for `in_thread_if_large`."""
    return CONTRACT_WEIGHT * sum(len(contract.files) for contract in contracts)


async def judge(lineage: ContractRegistry, model: ModelName, contract: Contract) -> None:
    """Has every verdict ready that `lineage` may be asked for about `contract` and the others of its model."""
    for newer, older in lineage.unjudged(model, contract):
        await in_thread_if_large(weight(newer, older), partial(lineage.reads, newer, older))
