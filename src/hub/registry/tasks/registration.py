"""Logins and logouts: what an instance may ask of the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final, final

import structlog

from hub.concurrency.offload import in_thread_if_large
from hub.contract import Contract, breaking_changes, diff
from hub.errors import NotYourInstance, RegistryFull
from hub.ports.directory import Directory, InstanceEntry, LoginLimits, ModelLimits, RegisteredContract
from hub.registry.client.errors import InstanceUnreachable, NameTaken
from hub.registry.client.views import InstanceStatus
from hub.registry.core.comparisons import judge, weight
from hub.registry.core.limits import check_terms
from hub.registry.core.networks import InstanceNetworks, base_url
from hub.registry.core.ping_result import PingOk
from hub.registry.core.state import RegistryState
from hub.registry.tasks.directory_sync import DirectorySync, directory_timeout
from hub.registry.tasks.pinger import Pinger
from hub.types import Fingerprint, InstanceId, ModelName, WallClock, wall_clock

DEFAULT_LIMITS: Final = LoginLimits()


@dataclass(frozen=True, slots=True)
class Login:
    """An accepted login.

    Attributes:
        created: False when the instance was listed with the same facts already.
        accepts: Other contracts whose tasks the instance may be given.
        secret: What its owner has to show from now on; empty if the caller did not prove to be the owner.
    """

    status: InstanceStatus
    created: bool
    accepts: Sequence[Fingerprint] = ()
    secret: str = ""


def hashed(secret: str) -> str:
    """What is kept of a secret: its SHA-256, which is enough for one of 128 random bits or more; empty for none."""
    return sha256(secret.encode()).hexdigest() if secret else ""


_log = structlog.get_logger("hub.registry")


@final
class RegistrationService:
    """Decides who is let in.

    Args:
        roll: The memory of this process.
        directory: Decides, atomically and among all registries, who has a name; keeps what it accepted.
        keeper: Brings the two in step when they disagree about a name.
        pinger: Checks addresses and incumbents.
        networks: Where instances may be.
        limits: What there is room for.
        clock: Where Unix time comes from.
    """

    def __init__(
        self,
        roll: RegistryState,
        directory: Directory,
        keeper: DirectorySync,
        pinger: Pinger,
        *,
        networks: InstanceNetworks,
        limits: LoginLimits = DEFAULT_LIMITS,
        clock: WallClock = wall_clock,
    ) -> None:
        self._roll = roll
        self._directory = directory
        self._keeper = keeper
        self._pinger = pinger
        self._networks = networks
        self._limits = limits
        self._clock = clock
        self.refused: Final = Counter[str]()
        self.foreign = 0

    async def login(
        self,
        instance: InstanceId,
        model: ModelName,
        url: str,
        contract: Contract,
        *,
        example: str = "",
        limits: ModelLimits = ModelLimits(),
        consuming: bool = True,
        secret: str = "",
    ) -> Login:
        """Lets an instance in and pings it, so that what is listed has answered once.

        A name is held by those who answer: before a login is refused because of incumbents, they are pinged, and those
        who are gone are removed. With `consuming` false a listed instance is deaf at once, whatever happens next; true
        is what the ping has to say. Cancelled half-way, the instance may be in; the ping loop finds out about it.

        A listed instance is changed with its secret only. Without it the same facts have it pinged again, for it may be
        an instance that was started again in the same place; other facts are refused unless pings find it dead.

        Raises:
            NotYourInstance: The instance is listed with another secret, and lives.
            RegistryFull: There is no room.
            InvalidLogin: The address, or the terms, can never be accepted.
            NameTaken: Instances with another contract hold the name.
            InstanceUnreachable: Nobody, or somebody else, answers at the address. The instance is not in.
            ConnectionLost: The directory is out of reach.
        """
        url = base_url(url)
        self._networks.check(url)
        check_terms(limits)
        table = self._roll.table
        proof = hashed(secret)
        current = table.instance(instance)
        if current is not None and not current.entry.owned_by(proof):
            again = await self._again(instance, model, url, contract)
            if again is not None:
                return again
            current = None
        own = secret or token_urlsafe()
        entry = InstanceEntry(
            id=instance,
            model=model,
            url=url,
            fingerprint=contract.fingerprint,
            logged_in_at=self._clock() if current is None else current.entry.logged_in_at,
            example=example,
            limits=limits,
            secret_hash=hashed(own),
        )
        await judge(self._roll.lineage, model, contract)
        if current is not None and not consuming:
            self._roll.apply(table.own_word(instance, now=self._clock()))
        again = await self._enter(entry, contract, proof)
        if again is not None:
            return again
        self._roll.know(
            [
                RegisteredContract(
                    model=model, contract=contract, first_seen_at=entry.logged_in_at, first_seen_from=instance
                )
            ]
        )
        changes = table.login(entry)
        self._roll.apply(changes)
        await self._keeper.claim([instance])
        self._roll.apply(table.login(entry))  # news from before, that it was gone, may just have been taken in
        target = table.target(instance)
        result = PingOk() if target is None else await self._pinger.ping(target)
        status = table.instance(instance)
        if status is None:
            raise InstanceUnreachable(url, result.reason or "it logged out meanwhile")
        return Login(status, created=bool(changes), accepts=self._roll.lineage.accepts(model, contract), secret=own)

    def logout(self, instance: InstanceId, *, secret: str = "") -> None:
        """Takes an instance off the lists at once; the directory follows in the background.

        Raises:
            NotYourInstance: It is listed with another secret.
        """
        status = self._roll.table.instance(instance)
        if status is not None and not status.entry.owned_by(hashed(secret)):
            self.foreign += 1
            raise NotYourInstance(instance)
        self._roll.apply(self._roll.table.logout(instance))

    async def _enter(self, entry: InstanceEntry, contract: Contract, proof: str) -> Login | None:
        """Gets the name for an instance. Returns a login if that of a listed instance without its secret is all it is."""
        leaving = self._roll.departed.pop(entry.id, None)
        try:
            if await self._claim(entry, contract, proof) is None:
                return None
            await self._look_after(entry.model, contract)
        except NotYourInstance:  # another registry let it in a moment ago, or it is about to leave
            if leaving is not None:
                self._roll.departed.setdefault(entry.id, leaving)
            again = await self._again(entry.id, entry.model, entry.url, contract)
            if again is not None:
                return again
        holder = await self._claim(entry, contract, proof)
        if holder is not None:
            raise await self._name_taken(entry.model, contract, holder)
        return None

    async def _again(self, instance: InstanceId, model: ModelName, url: str, contract: Contract) -> Login | None:
        """What becomes of a login without the secret of a listed instance, which is pinged: `None` if it is gone."""
        await self._keeper.flush()
        await self._keeper.reconcile()
        await self._keeper.claim([instance])
        target = self._roll.table.target(instance)
        if target is not None:
            await self._pinger.ping(target)
            await self._keeper.flush()
        status = self._roll.table.instance(instance)
        if status is None:
            return None
        entry = status.entry
        if (entry.model, entry.url, entry.fingerprint) != (model, url, contract.fingerprint):
            self.foreign += 1
            raise NotYourInstance(instance)
        return Login(status, created=False, accepts=self._roll.lineage.accepts(model, contract))

    async def _claim(self, entry: InstanceEntry, contract: Contract, proof: str) -> Fingerprint | None:
        """Asks for the name. Returns a fingerprint that holds it if it is not to be had."""
        compatible = self._roll.compatible_with(entry, contract)
        for holder in self._roll.table.others(entry) - compatible - {entry.fingerprint}:
            return holder  # the directory may have lost its data, the table has not
        with directory_timeout():
            try:
                return await self._directory.login(
                    entry, contract, compatible_with=compatible, proof=proof, limits=self._limits
                )
            except RegistryFull as full:
                self.refused[full.setting] += 1
                raise

    async def _look_after(self, model: ModelName, contract: Contract) -> None:
        """Pings those who hold a name, and lets go of the dead, here and in the directory."""
        await self._keeper.reconcile()
        if self._roll.lineage.mode != "strict":
            with directory_timeout():  # one that was accepted before may be let in where a new one is not
                self._roll.know(await self._directory.contracts())
            await judge(self._roll.lineage, model, contract)
        holder = self._roll.table.model(model)
        if holder is not None:
            await self._keeper.claim([status.entry.id for status in holder.instances])
            targets = [self._roll.table.target(status.entry.id) for status in holder.instances]
            await self._pinger.ping_all(target for target in targets if target is not None)
        else:
            await self._release_unusable(model)
        await self._keeper.flush()

    async def _release_unusable(self, model: ModelName) -> None:
        """Logs out instances whose contract this release cannot use: they are never listed or pinged, and hold the name.

        Those that another registry has a lease of stay: it may be of a newer release. One that is up logs in again when it
        is not pinged, and hears what is wrong with its contract.
        """
        with directory_timeout():
            held = [each for each in (await self._directory.changes_since(0)).instances if each.entry.model == model]
            self._roll.know(await self._directory.contracts())  # after the look: a contract is stored with its instance
            for each in held:
                ours = each.token in (0, self._roll.holdings.token(each.entry.id))
                if ours and self._roll.contract(model, each.entry.fingerprint) is None:
                    _log.warning(
                        "instance logged out: its stored contract cannot be used",
                        model=model,
                        instance=each.entry.id,
                        fingerprint=each.entry.fingerprint,
                    )
                    await self._directory.logout(each.entry.id)

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
            self._roll.lineage.mode == "strict"
            and known is not None
            and not breaking_changes(known.contract, contract),
        )

    def _objections(self, known: Contract, contract: Contract) -> Sequence[str]:
        if self._roll.lineage.mode == "strict":
            return [difference.message for difference in diff(known, contract)]
        return [f"{violation.message} ({violation.rule})" for violation in breaking_changes(known, contract)]
