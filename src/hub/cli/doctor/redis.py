"""Checks of a Redis server: the result store, or the directory of the registries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from hub.cli.doctor.clock import compare_clocks
from hub.cli.doctor.findings import Findings
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConfigurationError, ConnectionLost, ConnectionRefused
from hub.observability.redaction import redacted_url
from hub.redis.connection import Command, Connector, ErrorReply, RedisConnection, Reply
from hub.redis.opening import redis_links
from hub.settings.connections import MEMORY
from hub.stores.redis.commands import PROBE
from hub.types import WallClock

OLDEST: Final = 7
"""The oldest major version of Redis that hub is tested with."""

TIMEOUT: Final = 8.0
"""Seconds for all checks of one server."""

SILENCE: Final = 5.0
"""Seconds without an answer after which the server counts as lost, as in the store."""

NEARLY_FULL: Final = 0.9
"""Share of `maxmemory` from which on a warning is due."""

_CHANNEL: Final = "hub:wake:doctor"
_COMMANDS: Final[tuple[Command, ...]] = (
    ("INFO", "server"),
    ("INFO", "memory"),
    ("INFO", "persistence"),
    ("INFO", "replication"),
    ("CONFIG", "GET", "appendfsync"),
    PROBE,
    ("PUBLISH", _CHANNEL, ""),
)

Facts: TypeAlias = Mapping[str, str]


async def check_redis(area: str, setting: str, url: str, clock: WallClock) -> Findings:
    """Checks the server at `url` for the part of hub that `area` names.

    Args:
        area: `store` or `directory`.
        setting: The setting with the URL, for repairs.
        url: Its value.
        clock: The clock of this machine.
    """
    findings = Findings(area)
    variable = f"HUB_{setting.upper()}"
    if url.startswith(MEMORY):
        findings.ok("reachable", f"{MEMORY}: in the process of `hub up`, lost when it ends")
        return findings
    try:
        connector = redis_links(url, read_timeout=SILENCE)
        with connection_timeout(connector.server, TIMEOUT):
            async with connector.connect(None) as connection:
                await _check(findings, connection, connector.server, clock)
            await _check_subscription(findings, connector)
    except ConnectionRefused as refused:
        findings.problem("reachable", f"{refused.server} refuses the connection", f"{refused.reason} ({variable})")
    except ConnectionLost as lost:
        repair = f"start it, or correct {variable}={redacted_url(url)}"
        findings.problem("reachable", f"{lost.server} is out of reach: {lost.reason}", repair)
    except ConfigurationError as error:
        findings.problem("reachable", str(error), f"correct {variable}")
    return findings


async def _check(findings: Findings, connection: RedisConnection, server: str, clock: WallClock) -> None:
    before = clock()
    (moment,) = await connection.call([("TIME",)])
    ours = (before + clock()) / 2
    *infos, fsync, probe, published = await connection.call(_COMMANDS)
    facts = {name: value for info in infos for name, value in _facts(info).items()}
    findings.ok("reachable", f"{server} accepts the credentials")
    _check_version(findings, facts, infos[0])
    _check_permissions(findings, probe, published, facts)
    if "maxmemory_policy" in facts:
        _check_memory(findings, facts)
    else:
        findings.unknown("eviction", "this user may not read INFO", "compare `maxmemory-policy` with noeviction")
    if "aof_enabled" in facts:
        _check_persistence(findings, facts, fsync)
    match moment:
        case [bytes(seconds), bytes(micros)]:
            compare_clocks(findings, "Redis", int(seconds) + int(micros) / 1e6, ours)
        case _:
            findings.unknown("clock", "this user may not use TIME", "synchronize the clocks of all machines (NTP)")


def _facts(reply: Reply) -> Facts:
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _check_version(findings: Findings, facts: Facts, reply: Reply) -> None:
    version = facts.get("redis_version", "")
    major = version.partition(".")[0]
    if not major.isdigit():
        why = reply.text if isinstance(reply, ErrorReply) else "INFO has no version"
        findings.unknown("version", f"the version of Redis is unknown: {why}", f"hub needs Redis {OLDEST} or later")
    elif int(major) < OLDEST:
        findings.problem("version", f"Redis {version}", f"upgrade it: hub is tested with {OLDEST} and later")
    else:
        findings.ok("version", f"Redis {version}")


def _check_permissions(findings: Findings, probe: Reply, published: Reply, facts: Facts) -> None:
    if facts.get("role") == "slave":
        primary = f"{facts.get('master_host', '?')}:{facts.get('master_port', '?')}"
        findings.problem("writable", "it is a replica, which accepts no writes", f"name the primary: {primary}")
    elif isinstance(probe, ErrorReply):
        findings.problem("writable", f"it refuses a script that writes a key: {probe.text}", _script_repair(probe.text))
    else:
        findings.ok("writable", "it runs scripts that write keys")
    if isinstance(published, ErrorReply):
        findings.problem(
            "publish", f"it refuses PUBLISH: {published.text}", "allow channels hub:*: ACL SETUSER USER &hub:*"
        )


def _script_repair(text: str) -> str:
    if "maxmemory" in text:  # one of the clients takes the code, OOM, out of the text
        return "raise maxmemory, or shorten HUB_RESULT_TTL: outcomes are stored for that long"
    if "MISCONF" in text or "snapshots" in text or "AOF" in text:
        return "free its disk, and read its log: it cannot save, and refuses writes until it can"
    if "loading" in text.lower():
        return "wait until it has loaded its data"
    return "give the user the keys and commands of hub: ACL SETUSER USER ~hub:* &hub:* +@all -@dangerous +info"


def _check_memory(findings: Findings, facts: Facts) -> None:
    policy, limit, used = facts["maxmemory_policy"], int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    size = f"{used / 2**20:,.0f} MiB in use"
    if policy != "noeviction" and limit:
        findings.problem(
            "eviction",
            f"maxmemory-policy is {policy}: when {limit / 2**20:,.0f} MiB are full, it removes records of tasks",
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    elif policy != "noeviction":
        findings.warning(
            "eviction",
            f"maxmemory-policy is {policy}; it has no effect as long as there is no maxmemory",
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    else:
        findings.ok("eviction", "maxmemory-policy is noeviction")
    if not limit:
        findings.ok("memory", f"{size}, no maxmemory")
    elif used >= NEARLY_FULL * limit:
        findings.warning(
            "memory",
            f"{size} of {limit / 2**20:,.0f} MiB: soon it accepts no tasks",
            "raise maxmemory, or shorten HUB_RESULT_TTL",
        )
    else:
        findings.ok("memory", f"{size} of {limit / 2**20:,.0f} MiB")


def _check_persistence(findings: Findings, facts: Facts, fsync: Reply) -> None:
    saving = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if facts.get(name, "ok") != "ok"]
    if saving:
        findings.problem(
            "saving", f"its last attempt to save failed ({', '.join(saving)})", "free its disk, and read its log"
        )
    if facts["aof_enabled"] == "0":
        findings.warning(
            "persistence",
            "appendonly is no: a crash of Redis loses outcomes and records",
            "set appendonly yes and appendfsync always in redis.conf",
        )
        return
    match _value(fsync):
        case b"always":
            findings.ok("persistence", "appendonly yes, appendfsync always")
        case bytes(other):
            findings.warning(
                "persistence",
                f"appendfsync is {other.decode(errors='replace')}: a crash of Redis loses outcomes of the last seconds",
                "set appendfsync always in redis.conf",
            )
        case _:
            findings.unknown(
                "persistence",
                "appendonly yes; appendfsync is unknown, because this user may not use CONFIG GET",
                "compare appendfsync in redis.conf with always",
            )


def _value(reply: object) -> object:
    """The one value in a reply of `CONFIG GET`: a list in RESP2, a map in RESP3."""
    if isinstance(reply, Mapping):
        return cast("Mapping[object, object]", reply).get(b"appendfsync")
    if isinstance(reply, Sequence) and len(pair := cast("Sequence[object]", reply)) == len(("name", "value")):
        return pair[1]
    return None


async def _check_subscription(findings: Findings, connector: Connector) -> None:
    try:
        async with connector.connect(_CHANNEL):
            findings.ok("subscribe", "it accepts subscriptions")
    except ConnectionLost as lost:
        repair = "allow channels hub:*: ACL SETUSER USER &hub:* +subscribe"
        findings.problem("subscribe", f"it refuses a subscription: {lost.reason}", repair)
