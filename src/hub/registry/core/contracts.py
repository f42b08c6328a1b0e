"""The contracts that models have had, and which of them may be up at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final, final

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.contract import Contract, breaking_changes
from hub.ports.directory import RegisteredContract
from hub.settings.registry import ContractMode
from hub.types import Fingerprint, ModelName

MAX_READABLE: Final = 16
"""Earlier contracts whose tasks an instance may be given: the newest. No queue holds tasks of more of them."""


def weight(*contracts: Contract) -> int:
    """The size of work on contracts, for `in_thread_if_large`."""
    return CONTRACT_WEIGHT * sum(len(contract.files) for contract in contracts)


@final
class ContractRegistry:
    """Every accepted contract, by model. Plain bookkeeping, except `compare_all`.

    One contract *can read* another if it does not break it by the rules of `hub.contract.compatibility.rules`: an instance
    with the one may be given tasks that were written for the other.

    Args:
        mode: `strict`: instances of one model have one contract. `compatible`: a contract may join those that it can
            read, and one that was accepted before may join those that can read it.
    """

    def __init__(self, mode: ContractMode = "strict") -> None:
        self.mode: Final[ContractMode] = mode
        self._contracts: dict[ModelName, dict[Fingerprint, RegisteredContract]] = {}
        self._comparisons: dict[tuple[Fingerprint, Fingerprint], bool] = {}

    def add(self, known: RegisteredContract) -> None:
        """Adds a contract; one that is known stays as it is."""
        self._contracts.setdefault(known.model, {}).setdefault(known.contract.fingerprint, known)

    def remove(self, model: ModelName, fingerprint: Fingerprint) -> None:
        """Drops a contract and all comparisons with it; one that another model needs is made again."""
        contracts = self._contracts.get(model, {})
        contracts.pop(fingerprint, None)
        if not contracts:
            self._contracts.pop(model, None)
        for pair in [pair for pair in self._comparisons if fingerprint in pair]:
            del self._comparisons[pair]

    def keys(self) -> frozenset[tuple[ModelName, Fingerprint]]:
        """Model and fingerprint of every contract."""
        return frozenset((model, one) for model, contracts in self._contracts.items() for one in contracts)

    def get(self, model: ModelName, fingerprint: Fingerprint) -> RegisteredContract | None:
        return self._contracts.get(model, {}).get(fingerprint)

    def of(self, model: ModelName) -> Sequence[RegisteredContract]:
        """All contracts of a model, oldest first."""
        known = self._contracts.get(model, {}).values()
        return sorted(known, key=lambda each: (each.first_seen_at, each.first_seen_from))

    def compatible_with(
        self, model: ModelName, contract: Contract, others: Iterable[Fingerprint]
    ) -> frozenset[Fingerprint]:
        """Those of the contracts `others` of a model that may be up at the same time as `contract`.

        None in strict mode. A contract that is not known here is left out.
        """
        if self.mode == "strict":
            return frozenset()
        returning = self.get(model, contract.fingerprint) is not None
        found: set[Fingerprint] = set()
        for fingerprint in others:
            known = self.get(model, fingerprint)
            if known is None or fingerprint == contract.fingerprint:
                continue
            if self.can_read(contract, known.contract) or (returning and self.can_read(known.contract, contract)):
                found.add(fingerprint)
        return frozenset(found)

    def readable_contracts(self, model: ModelName, contract: Contract) -> Sequence[Fingerprint]:
        """The other contracts of a model whose tasks an instance with `contract` may be given. None in strict mode."""
        if self.mode == "strict":
            return ()
        return [other.fingerprint for other in self._others(model, contract) if self.can_read(contract, other)]

    def serving_contract(self, model: ModelName, fingerprints: Collection[Fingerprint]) -> Fingerprint:
        """The contract that clients write requests for while instances with all of `fingerprints` are listed.

        It is the one that all others can read: no instance is given a field that it does not know.
        """
        known = [each.contract for each in self.of(model) if each.contract.fingerprint in fingerprints]
        for contract in known:
            if all(other is contract or self.can_read(other, contract) for other in known):
                return contract.fingerprint
        return known[0].fingerprint if known else next(iter(fingerprints))

    def can_read(self, newer: Contract, older: Contract) -> bool:
        """Whether one contract can read another. The first call compares them, and may be made in a thread."""
        pair = (newer.fingerprint, older.fingerprint)
        result = self._comparisons.get(pair)
        if result is None:
            try:
                result = not breaking_changes(older, newer)
            except Exception:  # noqa: BLE001 - foreign data that this release cannot use: it can read nothing
                result = False
            self._comparisons[pair] = result
        return result

    async def compare_all(self, model: ModelName, contract: Contract) -> None:
        """Compares `contract` with the others of its model, in threads if they are large.

        The other methods do not await, and a comparison of large contracts takes up to a second. In strict mode they
        need none.
        """
        if self.mode == "strict":
            return
        for other in self._others(model, contract):
            for newer, older in ((contract, other), (other, contract)):
                if (newer.fingerprint, older.fingerprint) not in self._comparisons:
                    await in_thread_if_large(weight(newer, older), partial(self.can_read, newer, older))

    def _others(self, model: ModelName, contract: Contract) -> Sequence[Contract]:
        others = [each.contract for each in self.of(model) if each.contract.fingerprint != contract.fingerprint]
        return others[-MAX_READABLE:]
