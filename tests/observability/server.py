"""A Prometheus of the test run's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from httpx2 import AsyncClient

from tests.support.server import ServerMissing, ServerProcess, answers, free_port

MISSING: Final = "no prometheus on this machine: `apt-get install prometheus`"

_ENV: Final = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer; the values of the newest sample last."""

    labels: Mapping[str, str]
    values: tuple[float, ...]


@final
class Prometheus:
    """One server on loopback, and its HTTP API.

    Args:
        config: Its configuration file; data and log go beside it.
        http: To ask it with.
    """

    def __init__(self, config: Path, http: AsyncClient) -> None:
        self.port: Final = free_port()
        self._http = http
        data = config.parent / "data"
        self._server = ServerProcess(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            env=_ENV,
            log=config.parent / "prometheus.log",
            ready=lambda: answers(self.port, b"GET /-/ready HTTP/1.0\r\n\r\n", b"HTTP/1.0 200"),
        )

    def start(self) -> None:
        """Blocks until it answers."""
        self._server.start()

    def close(self) -> None:
        self._server.kill()

    async def query(self, promql: str) -> list[Series]:
        """What it answers now (`/api/v1/query`).

        Raises:
            AssertionError: It does not take the query; the text says why.
        """
        found = await self._ask("query", {"query": promql})
        return [Series(row["metric"], (float(row["value"][1]),)) for row in found["result"]]

    async def query_range(self, promql: str, *, start: float, end: float, step: float = 1) -> list[Series]:
        """What it answers for a span of time (`/api/v1/query_range`), in Unix seconds."""
        span = {"query": promql, "start": f"{start}", "end": f"{end}", "step": f"{step}"}
        found = await self._ask("query_range", span)
        return [Series(row["metric"], tuple(float(value) for _, value in row["values"])) for row in found["result"]]

    async def label_values(self, selector: str, label: str) -> list[str]:
        """As Grafana answers `label_values(selector, label)`."""
        found: list[str] = await self._ask(f"label/{label}/values", {"match[]": selector})
        return found

    async def targets(self) -> dict[str, list[dict[str, Any]]]:
        """What it scrapes, by job."""
        by_job: dict[str, list[dict[str, Any]]] = {}
        for target in (await self._ask("targets", {"state": "active"}))["activeTargets"]:
            by_job.setdefault(target["labels"]["job"], []).append(target)
        return by_job

    async def alerts(self) -> list[dict[str, Any]]:
        """What is pending or firing."""
        found: list[dict[str, Any]] = (await self._ask("alerts", {}))["alerts"]
        return found

    async def rule_health(self) -> dict[str, str]:
        """By name: `ok`, `unknown` before the first evaluation, or the error of the last one."""
        groups = (await self._ask("rules", {}))["groups"]
        return {rule["name"]: rule.get("lastError") or rule["health"] for group in groups for rule in group["rules"]}

    async def _ask(self, what: str, params: Mapping[str, str]) -> Any:
        reply = await self._http.get(f"http://127.0.0.1:{self.port}/api/v1/{what}", params=dict(params))
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`.

    Raises:
        ServerMissing: It is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise ServerMissing(MISSING)
    return found
