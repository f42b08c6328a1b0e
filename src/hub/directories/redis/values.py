"""What the directory keeps in Redis, as bytes, and what its scripts answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from hub.contract.contract import Contract
from hub.contract.errors import InvalidContract
from hub.errors import Undecodable
from hub.ports.directory import (
    DirectoryChanges,
    HistoryEvent,
    InstanceEntry,
    InstanceHealth,
    LeaseSet,
    RegisteredContract,
    StoredInstance,
)
from hub.redis.connection import Reply
from hub.safe_text import UNREADABLE_JSON
from hub.types import InstanceId, ModelName

T = TypeVar("T")

Unreadable: TypeAlias = Callable[[str, Reply, Exception], None]
"""Called with what is left out: what it was to be, the name it has in the directory, and why it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredContract:
    """A `RegisteredContract` in JSON; `contract` is a serialized `hub.v1.Contract`, in base64 there."""

    model: ModelName
    contract: bytes
    first_seen_at: float
    first_seen_from: InstanceId


def contract_to_json(entry: InstanceEntry, contract: Contract) -> bytes:
    stored = _StoredContract(
        model=entry.model, contract=contract.encode(), first_seen_at=entry.logged_in_at, first_seen_from=entry.id
    )
    return msgspec.json.encode(stored)


def contract_of_json(value: bytes) -> RegisteredContract:
    stored = decoded(value, _StoredContract)
    try:
        contract = Contract.decode(stored.contract)
    except InvalidContract as error:
        raise Undecodable("hub.v1.Contract", str(error)) from error
    return RegisteredContract(
        model=stored.model,
        contract=contract,
        first_seen_at=stored.first_seen_at,
        first_seen_from=stored.first_seen_from,
    )


@contextmanager
def _of_script() -> Generator[None]:
    """Refuses a reply that has not the form that the script gives it."""
    try:
        yield
    except ValueError as error:  # too few or too many items
        raise Undecodable("directory", str(error)) from error


@_of_script()
def leases_of(reply: Reply, unreadable: Unreadable) -> LeaseSet:
    """The answer of `lease.lua`."""
    registries, *rest = items(reply)
    return LeaseSet(tokens=_tokens(rest, unreadable), registries=number(registries))


@_of_script()
def tokens_of(reply: Reply, unreadable: Unreadable) -> Mapping[InstanceId, int]:
    """The answer of `claim.lua`."""
    return _tokens(items(reply), unreadable)


def _tokens(pairs: Sequence[Reply], unreadable: Unreadable) -> Mapping[InstanceId, int]:
    held: dict[InstanceId, int] = {}
    for one, token in zip(pairs[::2], pairs[1::2], strict=True):
        try:
            held[_id(one)] = number(token)
        except Undecodable as error:
            unreadable("lease", one, error)
    return held


@_of_script()
def changes_of(reply: Reply, unreadable: Unreadable) -> DirectoryChanges:
    """The answer of `changes_since.lua`."""
    revision, complete, *rest = items(reply)
    instances: list[StoredInstance] = []
    gone: dict[InstanceId, int] = {}
    for at in range(0, len(rest), 5):
        one, changed, entry, lease, health = rest[at : at + 5]
        try:
            if entry is None:
                gone[_id(one)] = number(changed)
                continue
            shared = StoredInstance(
                entry=decoded(text(entry), InstanceEntry),
                token=0 if lease is None else _token(one, lease, unreadable),
                health=None if health is None else _health(one, health, unreadable),
            )
        except Undecodable as error:  # of another program; its instance logs in again if there is one
            unreadable("instance", one, error)
        else:
            instances.append(shared)
    return DirectoryChanges(
        revision=number(revision), complete=number(complete) == 1, instances=instances, removed=gone
    )


def entries_of(replies: Sequence[Reply], unreadable: Unreadable) -> Sequence[InstanceEntry]:
    found: list[InstanceEntry] = []
    for reply in replies:
        try:
            found.append(decoded(text(reply), InstanceEntry))
        except Undecodable as error:
            unreadable("instance", None, error)
    return found


def history_of(replies: Sequence[Reply], unreadable: Unreadable) -> Sequence[HistoryEvent]:
    events: list[HistoryEvent] = []
    for reply in replies:
        try:
            events.append(decoded(text(reply), HistoryEvent))
        except Undecodable as error:
            unreadable("event", None, error)
    return events


def _id(value: Reply) -> InstanceId:
    try:
        return InstanceId(text(value).decode())
    except UnicodeDecodeError as error:
        raise Undecodable("id of an instance", str(error)) from error


def _token(one: Reply, lease: Reply, unreadable: Unreadable) -> int:
    """0 for a lease that cannot be read: for `lease.lua` it is free, and is soon written anew."""
    try:
        return number(text(lease).partition(b" ")[0])
    except Undecodable as error:
        unreadable("lease", one, error)
        return 0


def _health(one: Reply, health: Reply, unreadable: Unreadable) -> InstanceHealth | None:
    """`None` for one that cannot be read: it is written again after the next ping."""
    try:
        return decoded(text(health), InstanceHealth)
    except Undecodable as error:
        unreadable("health", one, error)
        return None


def items(reply: Reply) -> Sequence[Reply]:
    if not isinstance(reply, Sequence) or isinstance(reply, bytes):
        raise Undecodable("directory", repr(reply))
    return reply


def text(value: Reply) -> bytes:
    if not isinstance(value, bytes):
        raise Undecodable("directory", repr(value))
    return value


def number(value: Reply) -> int:
    try:
        return int(value if isinstance(value, int) else text(value))
    except ValueError as error:
        raise Undecodable("directory", repr(value)) from error


def decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except UNREADABLE_JSON as error:
        raise Undecodable(kind.__name__, str(error)) from error
