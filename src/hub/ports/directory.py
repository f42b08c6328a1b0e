"""Port to the database of the registries: instances, contracts, leases, events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Protocol

from hub.contract.comments import Comments
from hub.contract.contract import Contract
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, ReadinessSource, RegistryId


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """Limits for the tasks of a model, as its instances declare them. Durations are seconds.

    Attributes:
        concurrency: Tasks that one instance works on at a time; batches, if `max_batch_size` is above 1.
        default_timeout: Time from submit to outcome when the client does not set one; `None`: no deadline.
        max_timeout: The longest time that a client may ask for; `None`: any.
        max_batch_size: Tasks that one call of the model processes at most; 1 for a model without batches.
    """

    concurrency: int = 1
    default_timeout: float | None = None
    max_timeout: float | None = None
    max_batch_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceEntry:
    """One instance as it logged in.

    Attributes:
        url: The base of its HTTP routes, such as `http://10.0.0.7:40123`.
        example: An example request as ProtoJSON, for documentation; empty if it has none.
        limits: Limits for the tasks of its model.
        secret_hash: SHA-256 of the secret of its login, in hexadecimal digits; empty if it has none, because an earlier
            release accepted the login.
        comments: Comments of its `.proto` files, for documentation.
    """

    id: InstanceId
    model: ModelName
    url: str
    fingerprint: Fingerprint
    logged_in_at: float
    example: str = ""
    limits: ModelLimits = ModelLimits()
    secret_hash: str = ""
    comments: Comments = ()

    def owned_by(self, proof: str) -> bool:
        """Whether `proof`, the hash of a secret, is the one of the login, or the login had none."""
        return not self.secret_hash or compare_digest(self.secret_hash.encode(), proof.encode())

    def same_facts(self, other: InstanceEntry) -> bool:
        """Whether two logins of an instance differ in nothing but their time."""
        return replace(self, logged_in_at=other.logged_in_at) == other


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """Upper limits of what a directory stores; the names are those of the registry's settings.

    Attributes:
        max_models: Models that have an instance.
        max_instances: Instances of all models.
        max_model_instances: Instances of one model.
        max_contracts: Contracts. A new one takes the place of those of models without instances, the longest unused first.
        max_contract_bytes: Bytes of all contracts, as they are stored.
    """

    max_models: int = 1_000
    max_instances: int = 5_000
    max_model_instances: int = 1_000
    max_contracts: int = 5_000
    max_contract_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredContract:
    """A contract that the registry has accepted: when it first did, and from which instance."""

    model: ModelName
    contract: Contract
    first_seen_at: float
    first_seen_from: InstanceId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHealth:
    """What the registry that pings an instance knows about it, for the other registries to read.

    Attributes:
        reason: Why it is not live; empty if it is.
        misses: Pings in a row without an answer.
        answered_at: When it last answered a ping, in Unix seconds; `None` if it never has.
        not_consuming_source: What the state `not_consuming` was concluded from; `None` in any other state.
        stats: The statistics of its last ping reply; `None` before the first.
    """

    state: InstanceState
    reason: str = ""
    misses: int = 0
    answered_at: float | None = None
    not_consuming_source: ReadinessSource | None = None
    stats: InstanceStats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One instance went from one state to another.

    Attributes:
        at: Unix time in seconds.
        before: `None` for a login.
        after: `None` for a removal.
        reason: Why; empty for an instance that is live again.
    """

    at: float
    instance: InstanceId
    model: ModelName
    url: str
    before: InstanceState | None
    after: InstanceState | None
    reason: str


HISTORY_LENGTH = 1000
"""Events that a directory keeps: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSet:
    """The leases that one registry holds. Each instance is pinged by the registry that holds its lease, and by no other.

    Attributes:
        tokens: The fencing token of each lease. A later lease of the same instance has a higher one.
        registries: Number of registries that share the instances, this one included unless it is on standby.
    """

    tokens: Mapping[InstanceId, int]
    registries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """New health of an instance, from the registry that holds its lease.

    Attributes:
        token: The fencing token of the lease. The update is accepted only while it is the newest one.
        health: `None` removes the instance.
        events: For the history, oldest first.
    """

    instance: InstanceId
    token: int
    health: InstanceHealth | None
    events: Sequence[HistoryEvent] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """An instance as the directory stores it.

    Attributes:
        token: The fencing token of its newest lease, 0 before the first.
        health: The last accepted one; `None` before the first.
    """

    entry: InstanceEntry
    token: int
    health: InstanceHealth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryChanges:
    """Changes of a directory since a revision.

    Attributes:
        revision: The revision up to which these changes go. Fencing tokens are revisions too, so the two can be compared.
        complete: Whether these are all instances, not only those that changed.
        instances: Instances that changed, or whose lease did.
        removed: Removed instances, with the revision of the removal.
    """

    revision: int
    complete: bool
    instances: Sequence[StoredInstance]
    removed: Mapping[InstanceId, int]


class Directory(Protocol):
    """Storage that registries share. Calls are atomic, may be cancelled, and raise `ConnectionLost` without the server."""

    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        compatible_with: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        """Adds or refreshes an instance, unless its model's name is taken by instances with another contract.

        Of two registries that log in different contracts under one name, exactly one succeeds. An accepted contract is
        kept until `forget` drops it; see `contracts`.

        Args:
            entry: The instance.
            contract: Its contract.
            compatible_with: Other contracts whose instances may hold the name at the same time.
            proof: Hash of the secret that came with the call; see `InstanceEntry.owned_by`.
            limits: Upper limits of what is stored; `None`: no limits.

        Returns:
            `None` when the instance is logged in, else a fingerprint that holds the name.

        Raises:
            NotYourInstance: The instance is logged in with another secret.
            RegistryFull: A limit is reached.
        """
        ...

    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        """Removes an instance, whichever registry holds its lease. The last one of a model frees its name.

        Args:
            instance: The instance to remove.
            event: Added to the history if the instance was logged in.

        Returns:
            Whether the instance was logged in.
        """
        ...

    async def instances(self) -> Sequence[InstanceEntry]:
        """All instances, oldest login first."""
        ...

    async def instance_ids(self) -> Collection[InstanceId]:
        """The ids of all instances, in no order; cheaper than `instances`."""
        ...

    async def stored(self, instances: Collection[InstanceId]) -> Sequence[StoredInstance]:
        """Those of the instances that are logged in, in no order."""
        ...

    async def contracts(self) -> Sequence[RegisteredContract]:
        """Every stored contract, oldest first."""
        ...

    async def forget(self, ttl: float) -> int:
        """Drops the contracts that no instance has had for `ttl` seconds, by the clock of the directory.

        Returns:
            The number of dropped contracts.
        """
        ...

    async def lease(self, registry: RegistryId, *, ttl: float, standby: bool = False) -> LeaseSet:
        """Renews the leases of a registry for `ttl` seconds, and shares out the instances among the live registries.

        A registry keeps what it holds, gets instances that no live registry holds until it has its share (instances /
        registries, rounded up), and takes from the registry with the most until it has at least that share rounded down.
        Time is that of the directory.

        Args:
            registry: The calling registry.
            ttl: Seconds.
            standby: It wants no leases, and gives back what it holds if another registry is alive.
        """
        ...

    async def claim(
        self, registry: RegistryId, instances: Collection[InstanceId], *, ttl: float
    ) -> Mapping[InstanceId, int]:
        """Leases instances, whichever registry holds them: they have just logged in with this one, or it has to decide.

        It costs as much as there are claimed instances, however many others there are.

        Args:
            registry: The calling registry, which lives for `ttl` seconds more.
            instances: The instances. Unknown ones are ignored.
            ttl: Seconds.

        Returns:
            The fencing token of each lease.
        """
        ...

    async def release(self, registry: RegistryId) -> None:
        """Frees all leases of a registry that stops."""
        ...

    async def report(self, updates: Sequence[StatusUpdate]) -> Sequence[bool]:
        """Stores new health of instances. Atomic for each update.

        Returns:
            For each update whether it was accepted. It is not when the instance was removed, or another registry has got
            its lease.
        """
        ...

    async def changes_since(self, revision: int, *, reader: RegistryId | None = None) -> DirectoryChanges:
        """The changes after a revision; all instances if it is 0, or one that the directory has lost.

        Args:
            revision: The revision.
            reader: Leaves out changes of instances whose newest lease this registry holds: it made them, or knows better.
        """
        ...

    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        """The last events, newest first; at most `HISTORY_LENGTH`."""
        ...
