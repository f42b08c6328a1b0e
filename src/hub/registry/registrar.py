"""Logins and logouts: what an instance may ask of the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from hub.contract import Contract, differences, violations
from hub.offload import in_thread_if_large
from hub.ports import Directory, InstanceEntry, KnownContract, Terms
from hub.registry.addresses import InstanceNetworks, base_url
from hub.registry.errors import InstanceUnreachable, NameTaken
from hub.registry.judging import judge, weight
from hub.registry.keeper import DirectoryKeeper, directory_patience
from hub.registry.pinger import Pinger
from hub.registry.pings import Answered
from hub.registry.roll import Roll
from hub.registry.states import InstanceStatus
from hub.registry.terms import check_terms
from hub.vocabulary import Fingerprint, InstanceId, ModelName, WallClock, wall_clock


@dataclass(frozen=True, slots=True)
class Login:
    """An accepted login.

    Attributes:
        created: False when the instance was listed with the same facts already.
        accepts: Other contracts whose tasks the instance may be given.
    """

    status: InstanceStatus
    created: bool
    accepts: Sequence[Fingerprint] = ()


@final
class Registrar:
    """Decides who is let in.

    Args:
        roll: The memory of this process.
        directory: Decides, atomically and among all registries, who has a name; keeps what it accepted.
        keeper: Brings the two in step when they disagree about a name.
        pinger: Checks addresses and incumbents.
        networks: Where instances may be.
        clock: Where Unix time comes from.
    """

    def __init__(
        self,
        roll: Roll,
        directory: Directory,
        keeper: DirectoryKeeper,
        pinger: Pinger,
        *,
        networks: InstanceNetworks,
        clock: WallClock = wall_clock,
    ) -> None:
        self._roll = roll
        self._directory = directory
        self._keeper = keeper
        self._pinger = pinger
        self._networks = networks
        self._clock = clock

    async def login(
        self,
        instance: InstanceId,
        model: ModelName,
        url: str,
        contract: Contract,
        *,
        example: str = "",
        terms: Terms = Terms(),
        consuming: bool = True,
    ) -> Login:
        """Lets an instance in and pings it, so that what is listed has answered once.

        A name is held by those who answer: before a login is refused because of incumbents, they are pinged, and those
        who are gone are removed. With `consuming` false a listed instance is deaf at once, whatever happens next; true
        is what the ping has to say. Cancelled half-way, the instance may be in; the ping loop finds out about it.

        Raises:
            InvalidLogin: The address, or the terms, can never be accepted.
            NameTaken: Instances with another contract hold the name.
            InstanceUnreachable: Nobody, or somebody else, answers at the address. The instance is not in.
            LinkLost: The directory is out of reach.
        """
        url = base_url(url)
        self._networks.check(url)
        check_terms(terms)
        table = self._roll.table
        current = table.instance(instance)
        entry = InstanceEntry(
            id=instance,
            model=model,
            url=url,
            fingerprint=contract.fingerprint,
            logged_in_at=self._clock() if current is None else current.entry.logged_in_at,
            example=example,
            terms=terms,
        )
        await judge(self._roll.lineage, model, contract)
        self._roll.departed.pop(instance, None)
        if not consuming:
            self._roll.apply(table.own_word(instance, now=self._clock()))
        if await self._claim(entry, contract) is not None:
            await self._look_after(model, contract)
            holder = await self._claim(entry, contract)
            if holder is not None:
                raise await self._name_taken(model, contract, holder)
        self._roll.know(
            [KnownContract(model=model, contract=contract, first_seen_at=entry.logged_in_at, first_seen_from=instance)]
        )
        changes = table.login(entry)
        self._roll.apply(changes)
        await self._keeper.claim([instance])
        self._roll.apply(table.login(entry))  # news from before, that it was gone, may just have been taken in
        target = table.target(instance)
        result = Answered() if target is None else await self._pinger.ping(target)
        status = table.instance(instance)
        if status is None:
            raise InstanceUnreachable(url, result.reason or "it logged out meanwhile")
        return Login(status, created=bool(changes), accepts=self._roll.lineage.accepts(model, contract))

    def logout(self, instance: InstanceId) -> None:
        """Takes an instance off the lists at once; the directory follows in the background."""
        self._roll.apply(self._roll.table.logout(instance))

    async def _claim(self, entry: InstanceEntry, contract: Contract) -> Fingerprint | None:
        """Asks for the name. Returns a fingerprint that holds it if it is not to be had."""
        beside = self._roll.beside(entry, contract)
        for holder in self._roll.table.others(entry) - beside - {entry.fingerprint}:
            return holder  # the directory may have lost its data, the table has not
        with directory_patience():
            return await self._directory.login(entry, contract, beside=beside)

    async def _look_after(self, model: ModelName, contract: Contract) -> None:
        """Pings those who hold a name, and lets go of the dead, here and in the directory."""
        await self._keeper.reconcile()
        if self._roll.lineage.mode != "strict":
            with directory_patience():  # one that was accepted before may be let in where a new one is not
                self._roll.know(await self._directory.contracts())
            await judge(self._roll.lineage, model, contract)
        holder = self._roll.table.model(model)
        if holder is not None:
            await self._keeper.claim([status.entry.id for status in holder.instances])
            targets = [self._roll.table.target(status.entry.id) for status in holder.instances]
            await self._pinger.ping_all(target for target in targets if target is not None)
        await self._keeper.flush()

    async def _name_taken(self, model: ModelName, contract: Contract, holder: Fingerprint) -> NameTaken:
        known = self._roll.contract(model, holder)
        status = self._roll.table.model(model)
        incumbents = () if status is None else status.instances
        objections: Sequence[str] = ()
        if known is not None:
            compare = partial(self._objections, known.contract, contract)
            objections = await in_thread_if_large(weight(known.contract, contract), compare)
        return NameTaken(
            model,
            objections,
            [f"{each.state} instance {each.entry.id} at {each.entry.url}" for each in incumbents],
            self._roll.lineage.mode == "strict" and known is not None and not violations(known.contract, contract),
        )

    def _objections(self, known: Contract, contract: Contract) -> Sequence[str]:
        if self._roll.lineage.mode == "strict":
            return [difference.message for difference in differences(known, contract)]
        return [f"{violation.message} ({violation.rule})" for violation in violations(known, contract)]
