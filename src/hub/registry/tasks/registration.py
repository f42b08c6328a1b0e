"""Logins and logouts of instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from math import isfinite
from secrets import token_urlsafe
from typing import Final, final

import structlog

from hub.concurrency.offload import in_thread_if_large
from hub.contract import Contract, breaking_changes, diff
from hub.errors import NotYourInstance, RegistryFull
from hub.ports.directory import Directory, InstanceEntry, LoginLimits, ModelLimits, RegisteredContract
from hub.registry.client.errors import (
    DescriptorsUnreachable,
    InstanceUnreachable,
    InvalidDescriptors,
    InvalidLogin,
    NameTaken,
)
from hub.registry.client.login import LoginRequest
from hub.registry.client.views import InstanceStatus
from hub.registry.core.contracts import weight
from hub.registry.core.networks import InstanceNetworks, base_url
from hub.registry.core.ping_result import PingOk
from hub.registry.core.state import RegistryState
from hub.registry.tasks.descriptor_reader import DescriptorReader
from hub.registry.tasks.directory_sync import DirectorySync, directory_timeout
from hub.registry.tasks.pinger import Pinger
from hub.types import Fingerprint, InstanceId, ModelName

DEFAULT_LIMITS: Final = LoginLimits()

_log = structlog.get_logger("hub.registry")


@dataclass(frozen=True, slots=True)
class AcceptedLogin:
    """An accepted login, as the registry sees it.

    Attributes:
        created: False when the instance was listed with the same facts already.
        accepts: Other contracts whose tasks the instance may be given.
        secret: The secret that later calls for the instance must carry; empty if this one did not.
    """

    status: InstanceStatus
    created: bool
    accepts: Sequence[Fingerprint] = ()
    secret: str = ""


@final
class RegistrationService:
    """Decides which logins are accepted.

    Args:
        state: The state of this registry.
        directory: Decides, atomically for all registries, which contract has a name.
        sync: Synchronises the two when they disagree about a name.
        pinger: Checks addresses, and the instances that hold a name.
        descriptors: Reads the contracts that logins leave out.
        networks: Where instances may be.
        limits: Upper limits of what is registered.

    Attributes:
        refused: Logins refused because of a limit, by its name.
        descriptor_reads: Contracts read from instances, by result: `read`, `unreachable` or `invalid`.
        foreign: Logins and logouts refused because they did not carry the secret of the instance.
    """

    def __init__(
        self,
        state: RegistryState,
        directory: Directory,
        sync: DirectorySync,
        pinger: Pinger,
        *,
        descriptors: DescriptorReader,
        networks: InstanceNetworks,
        limits: LoginLimits = DEFAULT_LIMITS,
    ) -> None:
        self._state = state
        self._directory = directory
        self._sync = sync
        self._pinger = pinger
        self._descriptors = descriptors
        self._networks = networks
        self._limits = limits
        self.refused: Final = Counter[str]()
        self.descriptor_reads: Final = Counter(read=0, unreachable=0, invalid=0)
        self.foreign = 0

    async def login(self, request: LoginRequest) -> AcceptedLogin:
        """Lists an instance after one ping, so that every listed instance has answered once.

        A name is held by instances that answer: before a login is refused because of others, they are pinged, and those
        that do not answer are removed. An instance that is listed and reports that it does not consume is marked so at
        once, whatever happens next. Cancelled half-way, the instance may be listed; the ping loop checks it.

        A listed instance is changed only with its secret. Without the secret a login with the same facts pings it, because
        it may be an instance that was restarted at the same address; one with other facts is refused unless the pings
        find the instance dead.

        Raises:
            NotYourInstance: The instance is listed with another secret, and alive.
            RegistryFull: A limit is reached.
            InvalidLogin: The address, or the limits of the model, can never be accepted.
            NameTaken: Instances with another contract hold the name.
            InstanceUnreachable: No process, or another one, answers at the address. The instance is not listed.
            ConnectionLost: The directory is out of reach.
        """
        request = replace(request, url=base_url(request.url))
        self._networks.check(request.url)
        check_limits(request.limits)
        state, contract = self._state, request.contract
        proof = hashed(request.secret)
        current = state.instance(request.instance)
        if current is not None and not current.entry.owned_by(proof):
            repeated = await self._login_without_secret(request)
            if repeated is not None:
                return repeated
            current = None
        secret = request.secret or token_urlsafe()
        entry = request.entry(
            logged_in_at=state.now() if current is None else current.entry.logged_in_at, secret_hash=hashed(secret)
        )
        await state.contracts.compare_all(request.model, contract)
        if current is not None and not (request.consuming or request.loading):
            state.report_not_consuming(request.instance)
        repeated = await self._take_name(request, entry, proof)
        if repeated is not None:
            return repeated
        state.add_contracts(
            [
                RegisteredContract(
                    model=entry.model,
                    contract=contract,
                    first_seen_at=entry.logged_in_at,
                    first_seen_from=entry.id,
                )
            ]
        )
        created = state.login(entry)
        await self._sync.claim([entry.id])
        state.login(entry)  # a change from before, that it was removed, may just have been applied
        target = state.target(entry.id)
        result = PingOk() if target is None else await self._pinger.ping(target)
        status = state.instance(entry.id)
        if status is None:
            raise InstanceUnreachable(request.url, result.reason or "it logged out meanwhile")
        return AcceptedLogin(status, created, state.contracts.readable_contracts(entry.model, contract), secret)

    async def read_contract(self, url: str) -> Contract:
        """The contract of the instance at `url`, for a login without one. Waits for the instance alone.

        Raises:
            InvalidLogin: The address can never be accepted.
            DescriptorsUnreachable: The instance did not serve its descriptors in time.
            InvalidDescriptors: They are not a contract.
        """
        url = base_url(url)
        self._networks.check(url)
        try:
            contract = await self._descriptors.read(url)
        except DescriptorsUnreachable:
            self.descriptor_reads["unreachable"] += 1
            raise
        except InvalidDescriptors:
            self.descriptor_reads["invalid"] += 1
            raise
        self.descriptor_reads["read"] += 1
        return contract

    def logout(self, instance: InstanceId, *, secret: str = "") -> None:
        """Removes an instance at once, and from the directory in the background.

        Raises:
            NotYourInstance: It is listed with another secret.
        """
        status = self._state.instance(instance)
        if status is not None and not status.entry.owned_by(hashed(secret)):
            self.foreign += 1
            raise NotYourInstance(instance)
        self._state.logout(instance)

    async def _take_name(self, request: LoginRequest, entry: InstanceEntry, proof: str) -> AcceptedLogin | None:
        """Gets the name for an instance. Returns a login if it was only that of a listed instance without its secret."""
        logout = self._state.pending_logouts.pop(entry.id, None)
        try:
            if await self._try_to_take_name(entry, request.contract, proof) is None:
                return None
            await self._verify_incumbents(entry.model, request.contract)
        except NotYourInstance:  # another registry has listed it a moment ago, or its logout is pending
            if logout is not None:
                self._state.pending_logouts.setdefault(entry.id, logout)
            repeated = await self._login_without_secret(request)
            if repeated is not None:
                return repeated
        holder = await self._try_to_take_name(entry, request.contract, proof)
        if holder is not None:
            raise await self._name_taken(entry.model, request.contract, holder)
        return None

    async def _login_without_secret(self, request: LoginRequest) -> AcceptedLogin | None:
        """Pings a listed instance instead of changing it. Returns `None` if that has removed it.

        Raises:
            NotYourInstance: It is alive, and was listed with other facts.
        """
        await self._sync.flush()
        await self._sync.reconcile()
        await self._sync.claim([request.instance])
        target = self._state.target(request.instance)
        if target is not None:
            await self._pinger.ping(target)
            await self._sync.flush()
        status = self._state.instance(request.instance)
        if status is None:
            return None
        entry, contract = status.entry, request.contract
        if (entry.model, entry.url, entry.fingerprint) != (request.model, request.url, contract.fingerprint):
            self.foreign += 1
            raise NotYourInstance(request.instance)
        accepts = self._state.contracts.readable_contracts(request.model, contract)
        return AcceptedLogin(status, created=False, accepts=accepts)

    async def _try_to_take_name(self, entry: InstanceEntry, contract: Contract, proof: str) -> Fingerprint | None:
        """Logs the instance in at the directory. Returns a fingerprint that holds its name, if one does."""
        compatible = self._state.compatible_with(entry, contract)
        for holder in self._state.other_contracts(entry) - compatible - {entry.fingerprint}:
            return holder  # the directory may have lost its data, the table has not
        with directory_timeout():
            try:
                return await self._directory.login(
                    entry, contract, compatible_with=compatible, proof=proof, limits=self._limits
                )
            except RegistryFull as full:
                self.refused[full.setting] += 1
                raise

    async def _verify_incumbents(self, model: ModelName, contract: Contract) -> None:
        """Pings the instances that hold a name, and removes those that do not answer, here and in the directory."""
        await self._sync.reconcile()
        contracts = self._state.contracts
        if contracts.mode != "strict":
            with directory_timeout():  # one that was accepted before may log in where a new one may not
                self._state.add_contracts(await self._directory.contracts())
            await contracts.compare_all(model, contract)
        incumbents = self._state.model(model)
        if incumbents is not None:
            await self._sync.claim([status.entry.id for status in incumbents.instances])
            targets = [self._state.target(status.entry.id) for status in incumbents.instances]
            await self._pinger.ping_all(target for target in targets if target is not None)
        else:
            await self._log_out_unusable(model)
        await self._sync.flush()

    async def _log_out_unusable(self, model: ModelName) -> None:
        """Logs out instances whose contract this release cannot use: they hold the name, but are never listed or pinged.

        Those that another registry has leased stay: it may be of a newer release. One that is alive logs in again when it
        is not pinged, and gets an error that names what is wrong with its contract.
        """
        with directory_timeout():
            changes = await self._directory.changes_since(0)
            # After the instances: a contract is stored together with its first instance.
            self._state.add_contracts(await self._directory.contracts())
            for stored in changes.instances:
                entry = stored.entry
                owned = stored.token in (0, self._state.leases.token(entry.id))
                if entry.model == model and owned and self._state.contracts.get(model, entry.fingerprint) is None:
                    _log.warning(
                        "instance logged out: its stored contract cannot be used",
                        model=model,
                        instance=entry.id,
                        fingerprint=entry.fingerprint,
                    )
                    await self._directory.logout(entry.id)

    async def _name_taken(self, model: ModelName, contract: Contract, holder: Fingerprint) -> NameTaken:
        known = self._state.contracts.get(model, holder)
        status = self._state.model(model)
        incumbents = () if status is None else status.instances
        conflicts: Sequence[str] = ()
        if known is not None:
            compare = partial(self._conflicts, known.contract, contract)
            conflicts = await in_thread_if_large(weight(known.contract, contract), compare)
        return NameTaken(
            model,
            conflicts,
            [f"{each.state} instance {each.entry.id} at {each.entry.url}" for each in incumbents],
            self._state.contracts.mode == "strict"
            and known is not None
            and not breaking_changes(known.contract, contract),
        )

    def _conflicts(self, known: Contract, contract: Contract) -> Sequence[str]:
        if self._state.contracts.mode == "strict":
            return [difference.message for difference in diff(known, contract)]
        return [f"{change.message} ({change.rule})" for change in breaking_changes(known, contract)]


def hashed(secret: str) -> str:
    """The SHA-256 of a secret, which is enough for one of 128 random bits or more; empty for an empty one."""
    return sha256(secret.encode()).hexdigest() if secret else ""


def check_limits(limits: ModelLimits) -> None:
    """Refuses limits that no task can keep.

    Raises:
        InvalidLogin: Names the member and the repair.
    """
    if limits.concurrency < 1:
        raise InvalidLogin("limits.concurrency", f"{limits.concurrency} is less than one task at a time: say 1 or more")
    if limits.max_batch_size < 1:
        raise InvalidLogin("limits.max_batch_size", f"{limits.max_batch_size} is less than one task: say 1 or more")
    for name, timeout in (("default_timeout", limits.default_timeout), ("max_timeout", limits.max_timeout)):
        if timeout is not None and not (isfinite(timeout) and timeout > 0):
            raise InvalidLogin(
                f"limits.{name}", f"{timeout:g} is no time to run in: say seconds above 0, or leave it out"
            )
    if (
        limits.default_timeout is not None
        and limits.max_timeout is not None
        and limits.default_timeout > limits.max_timeout
    ):
        raise InvalidLogin(
            "limits.default_timeout",
            f"it is {limits.default_timeout:g} s, and max_timeout is {limits.max_timeout:g} s: lower the one, or raise the "
            "other",
        )
