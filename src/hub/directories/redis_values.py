"""What the directory keeps in Redis, as bytes, and what its scripts answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import structlog

from hub.contract.contract import Contract
from hub.contract.errors import InvalidContract
from hub.errors import Undecodable
from hub.ports import DirectoryNews, InstanceEntry, KnownContract, Leases, SharedInstance, Standing
from hub.redis.link import Reply
from hub.vocabulary import InstanceId, ModelName

T = TypeVar("T")

_log: Final = structlog.get_logger("hub.directories")


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredContract:
    """A `KnownContract` in JSON; `contract` is a serialized `hub.v1.Contract`, in base64 there."""

    model: ModelName
    contract: bytes
    first_seen_at: float
    first_seen_from: InstanceId


def contract_to_json(entry: InstanceEntry, contract: Contract) -> bytes:
    stored = _StoredContract(
        model=entry.model, contract=contract.encode(), first_seen_at=entry.logged_in_at, first_seen_from=entry.id
    )
    return msgspec.json.encode(stored)


def contract_of_json(value: bytes) -> KnownContract:
    stored = decoded(value, _StoredContract)
    try:
        contract = Contract.decode(stored.contract)
    except InvalidContract as error:
        raise Undecodable("hub.v1.Contract", str(error)) from error
    return KnownContract(
        model=stored.model,
        contract=contract,
        first_seen_at=stored.first_seen_at,
        first_seen_from=stored.first_seen_from,
    )


def leases_of(reply: Reply) -> Leases:
    """The answer of `lease.lua`."""
    registries, *rest = items(reply)
    ids, tokens = rest[::2], rest[1::2]
    return Leases(
        tokens={InstanceId(text(one).decode()): number(token) for one, token in zip(ids, tokens, strict=True)},
        registries=number(registries),
    )


def news_of(reply: Reply) -> DirectoryNews:
    """The answer of `news.lua`."""
    revision, complete, *rest = items(reply)
    instances: list[SharedInstance] = []
    gone: dict[InstanceId, int] = {}
    for at in range(0, len(rest), 5):
        one, changed, entry, lease, standing = rest[at : at + 5]
        if entry is None:
            gone[InstanceId(text(one).decode())] = number(changed)
            continue
        try:
            shared = SharedInstance(
                entry=decoded(text(entry), InstanceEntry),
                token=0 if lease is None else number(text(lease).partition(b" ")[0]),
                standing=None if standing is None else readable(text(standing), Standing),
            )
        except Undecodable as error:  # of another program; its instance logs in again if there is one
            _log.warning("an entry of the directory cannot be read, and is left out", reason=error.reason)
        else:
            instances.append(shared)
    return DirectoryNews(revision=number(revision), complete=number(complete) == 1, instances=instances, gone=gone)


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
    except (msgspec.DecodeError, ValueError) as error:
        raise Undecodable(kind.__name__, str(error)) from error


def readable(value: bytes, kind: type[T]) -> T | None:
    """What will be written again soon, or is not needed: `None` if this version cannot read it."""
    try:
        return decoded(value, kind)
    except Undecodable:
        return None
