"""The contracts that every model ever had, and which of them may be up at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, final

from hub.contract import Contract, breaking_changes
from hub.ports.directory import RegisteredContract
from hub.settings.registry import ContractMode
from hub.types import Fingerprint, ModelName

MOST_ACCEPTED: Final = 16
"""Earlier contracts that an instance is told to accept tasks of: the newest. No queue is older than that."""


@final
class ContractRegistry:
    """Every contract that was accepted, by model. Plain bookkeeping without I/O.

    One contract *reads* another if it does not break it by the rules of `hub.contract.compatibility.rules`: an instance of
    the one may be given tasks that were written for the other.

    Args:
        mode: `strict`: instances of one model have one contract. `compatible`: a contract may join those that it reads,
            and one that was accepted before may join those that read it.
    """

    def __init__(self, mode: ContractMode = "strict") -> None:
        self.mode: Final[ContractMode] = mode
        self._contracts: dict[ModelName, dict[Fingerprint, RegisteredContract]] = {}
        self._verdicts: dict[tuple[Fingerprint, Fingerprint], bool] = {}

    def know(self, known: RegisteredContract) -> None:
        """Keeps a contract; the first word about one stands."""
        self._contracts.setdefault(known.model, {}).setdefault(known.contract.fingerprint, known)

    def forget(self, model: ModelName, fingerprint: Fingerprint) -> None:
        """Drops a contract and every verdict about it; a verdict that another model needs is found again."""
        contracts = self._contracts.get(model, {})
        contracts.pop(fingerprint, None)
        if not contracts:
            self._contracts.pop(model, None)
        for pair in [pair for pair in self._verdicts if fingerprint in pair]:
            del self._verdicts[pair]

    def keys(self) -> frozenset[tuple[ModelName, Fingerprint]]:
        """Every contract that is kept."""
        return frozenset((model, one) for model, contracts in self._contracts.items() for one in contracts)

    def contract(self, model: ModelName, fingerprint: Fingerprint) -> RegisteredContract | None:
        return self._contracts.get(model, {}).get(fingerprint)

    def contracts(self, model: ModelName) -> Sequence[RegisteredContract]:
        """All contracts of a model, oldest first."""
        known = self._contracts.get(model, {}).values()
        return sorted(known, key=lambda each: (each.first_seen_at, each.first_seen_from))

    def compatible_with(
        self, model: ModelName, contract: Contract, holders: Iterable[Fingerprint]
    ) -> frozenset[Fingerprint]:
        """Which of the contracts `holders` of a model may be up at the same time as `contract`.

        Always empty in strict mode. A contract that nobody here knows is left out.
        """
        if self.mode == "strict":
            return frozenset()
        returning = self.contract(model, contract.fingerprint) is not None
        found: set[Fingerprint] = set()
        for fingerprint in holders:
            known = self.contract(model, fingerprint)
            if known is None or fingerprint == contract.fingerprint:
                continue
            if self.reads(contract, known.contract) or (returning and self.reads(known.contract, contract)):
                found.add(fingerprint)
        return frozenset(found)

    def accepts(self, model: ModelName, contract: Contract) -> Sequence[Fingerprint]:
        """The other contracts of a model whose tasks an instance with `contract` can be given. None in strict mode."""
        if self.mode == "strict":
            return ()
        others = [
            known.contract for known in self.contracts(model) if known.contract.fingerprint != contract.fingerprint
        ]
        return [other.fingerprint for other in others[-MOST_ACCEPTED:] if self.reads(contract, other)]

    def served(self, model: ModelName, fingerprints: Collection[Fingerprint]) -> Fingerprint:
        """The contract that clients are to write requests for while instances with all of `fingerprints` are listed.

        It is the one that all others read: no instance is given a field that it does not know.
        """
        known = [each.contract for each in self.contracts(model) if each.contract.fingerprint in fingerprints]
        for contract in known:
            if all(other is contract or self.reads(other, contract) for other in known):
                return contract.fingerprint
        return known[0].fingerprint if known else next(iter(fingerprints))

    def unjudged(self, model: ModelName, contract: Contract) -> Sequence[tuple[Contract, Contract]]:
        """The pairs with `contract` that `reads` has not compared yet, in both directions. None in strict mode."""
        if self.mode == "strict":
            return ()
        others = [each.contract for each in self.contracts(model) if each.contract.fingerprint != contract.fingerprint]
        pairs = [pair for other in others[-MOST_ACCEPTED:] for pair in ((contract, other), (other, contract))]
        return [pair for pair in pairs if (pair[0].fingerprint, pair[1].fingerprint) not in self._verdicts]

    def reads(self, newer: Contract, older: Contract) -> bool:
        """Whether one contract reads another; compared at the first call, which may be made in a thread."""
        pair = (newer.fingerprint, older.fingerprint)
        verdict = self._verdicts.get(pair)
        if verdict is None:
            try:
                verdict = not breaking_changes(older, newer)
            except Exception:  # noqa: BLE001 - foreign data that this release cannot use: it reads nothing
                verdict = False
            self._verdicts[pair] = verdict
        return verdict
