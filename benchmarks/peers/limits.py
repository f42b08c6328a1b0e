"""What the servers can do without any of the systems: a C client of the broker, and redis-benchmark."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.peers.environment import ROOT
from benchmarks.peers.processes import Failed
from benchmarks.peers.runs import Result, Servers

MESSAGES: Final = 30_000
REQUESTS: Final = 200_000
TIMEOUT: Final = 60.0

BROKER: Final[dict[str, str]] = {
    "quorum": "C client, quorum queue",
    "classic": "C client, classic queue",
}
STORE: Final[dict[str, tuple[str, ...]]] = {
    "one": ("-c", "50"),
    "pipelined": ("-c", "50", "-P", "50"),
}

_SOURCE: Final = Path(__file__).with_name("broker_limit.c")
_PROGRAM: Final = ROOT / ".cache" / "broker_limit"


def build() -> None:
    """Compiles the C client, unless it is newer than its source. Installs compiler and library from Debian if it may.

    Raises:
        Failed: It cannot be compiled.
    """
    if _PROGRAM.exists() and _PROGRAM.stat().st_mtime > _SOURCE.stat().st_mtime:
        return
    if shutil.which("cc") is None or not Path("/usr/include/amqp.h").exists():
        subprocess.run([str(ROOT / "scripts" / "apt-install.sh"), "gcc", "libc6-dev", "librabbitmq-dev"], check=False)
    _PROGRAM.parent.mkdir(exist_ok=True)
    command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(_PROGRAM), str(_SOURCE), "-lrabbitmq"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"no C compiler: {error.strerror}; install gcc and librabbitmq-dev") from error
    if done.returncode:
        raise Failed(f"the C client does not compile; install librabbitmq-dev: {done.stderr[-500:]}")


def limits(servers: Servers, number: int) -> list[Result]:
    """Measures each limit once; one that fails is a result with its error."""
    found: list[Result] = []
    for kind in BROKER:
        try:
            build()
            port = f"{urlsplit(servers.amqp).port}"
            rates = json.loads(_output(str(_PROGRAM), port, f"limit-{kind}-{number}", kind, f"{MESSAGES}"))
        except (Failed, ValueError) as error:
            found.append(Result(scenario="limits", system=f"broker-{kind}", round=number, error=f"{error}"))
            continue
        for what, rate in rates.items():
            found.append(
                Result(scenario="limits", system=f"broker-{kind}-{what}", round=number, tasks=MESSAGES, rate=rate)
            )
    for name, options in STORE.items():
        try:
            command = [
                "redis-benchmark",
                "-p",
                f"{urlsplit(servers.redis).port}",
                "-t",
                "set,get",
                "-d",
                "100",
                "--csv",
            ]
            output = _output(*command, "-n", f"{REQUESTS}", "-r", "100000", *options)
        except Failed as error:
            found.append(Result(scenario="limits", system=f"store-{name}", round=number, error=f"{error}"))
            continue
        for line in output.splitlines():
            command_name, rate, *_ = line.replace('"', "").split(",")
            if command_name in {"SET", "GET"}:
                system = f"store-{name}-{command_name.lower()}"
                found.append(Result(scenario="limits", system=system, round=number, tasks=REQUESTS, rate=float(rate)))
    return found


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    except subprocess.CalledProcessError as error:
        raise Failed(f"{command[0]} ended with {error.returncode}: {error.stderr[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]}: {error}") from error
    return done.stdout
