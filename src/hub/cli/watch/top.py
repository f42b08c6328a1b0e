"""`hub top`: models, queues, rates and instances, once per period."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol, TypeAlias, final

import msgspec
from httpx2 import AsyncClient, HTTPError, InvalidURL
from rich.console import Group
from rich.live import Live
from rich.text import Text
from typing_extensions import override

from hub.cli.command import EXIT_OK
from hub.cli.terminal import age, console, one_line
from hub.cli.watch.listing import new_table
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.periodic import every
from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost, ConnectionRefused
from hub.gateway.dashboard.stats import CounterSample, SampleWindow, Throughput
from hub.gateway.schemas import (
    InstanceCountsBody,
    ModelOverviewBody,
    OverviewBody,
    QuantilesBody,
    QueueOverviewBody,
    ThroughputBody,
    moment,
    rounded,
)
from hub.http.client import open_client
from hub.observability.redaction import redacted, redacted_url
from hub.registry.client.client import RegistryClient
from hub.registry.client.schemas import ModelBody, QueueBody
from hub.safe_text import UNREADABLE_JSON
from hub.settings.tools import TopSettings
from hub.types import InstanceState, ModelName, TaskState

TIMEOUT: Final = 10.0
"""Seconds for one reading."""


class OverviewSource(Protocol):
    """Where the numbers come from."""

    @property
    def server(self) -> str: ...

    async def read(self) -> OverviewBody:
        """The state of all models now.

        Raises:
            ConnectionLost: The server is out of reach, or refuses.
        """
        ...


@final
class GatewayOverview(OverviewSource):
    """Reads the overview of a gateway, which keeps the rates."""

    def __init__(self, http: AsyncClient, url: str, api_key: str) -> None:
        self._http = http
        self._url = f"{url.rstrip('/')}/v1/overview"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._server = f"gateway {redacted_url(url)}"

    @property
    @override
    def server(self) -> str:
        return self._server

    @override
    async def read(self) -> OverviewBody:
        try:
            with collapse_exception_group():
                response = await self._http.get(self._url, headers=self._headers)
        except (HTTPError, InvalidURL) as error:
            raise ConnectionLost(self._server, redacted(str(error)) or type(error).__name__) from error
        if response.status_code in (401, 403):
            why = f"it does not accept the key ({response.status_code}): set HUB_API_KEY to one of its HUB_API_KEYS"
            raise ConnectionRefused(self._server, why)
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=OverviewBody)
        except UNREADABLE_JSON as error:
            raise ConnectionRefused(
                self._server, f"it is no gateway of hub ({error}): correct HUB_GATEWAY_URL"
            ) from error
        if response.is_server_error:
            raise ConnectionLost(self._server, f"it answered {response.status_code}")
        why = f"it is no gateway of hub (it answered {response.status_code}): correct HUB_GATEWAY_URL"
        raise ConnectionRefused(self._server, why)


@final
class RegistryOverview(OverviewSource):
    """Reads lists and counters of a registry, and makes the rates out of two readings or more."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._window = SampleWindow()

    @property
    @override
    def server(self) -> str:
        return self._client.server

    @override
    async def read(self) -> OverviewBody:
        listed = await self._client.listed_models()
        stats = await self._client.stats()
        self._window.add(
            {
                ModelName(each.model): CounterSample(
                    at=stats.at,
                    in_flight=each.in_flight,
                    outcomes={state: each.outcomes.get(state, 0) for state in TaskState if state.terminal},
                    queue_time=each.queue_time,
                    run_time=each.run_time,
                )
                for each in stats.models
            }
        )
        queues = {each.model: each.queue for each in stats.models}
        return OverviewBody(
            at=moment(stats.at),
            registry=True,
            broker=any(queue is not None for queue in queues.values()) or not queues,
            figures=True,
            models=tuple(self._model(each, queues) for each in listed.models),
        )

    def _model(self, model: ModelBody, queues: Mapping[str, QueueBody | None]) -> ModelOverviewBody:
        counts = {state: sum(each.state is state for each in model.instances) for state in InstanceState}
        queue = queues.get(model.name)
        work = self._window.throughput(ModelName(model.name))
        return ModelOverviewBody(
            name=model.name,
            active=model.active,
            live=counts[InstanceState.LIVE],
            instances=len(model.instances),
            states=InstanceCountsBody(
                live=counts[InstanceState.LIVE],
                not_consuming=counts[InstanceState.NOT_CONSUMING],
                suspect=counts[InstanceState.SUSPECT],
                loading=counts[InstanceState.LOADING],
            ),
            fingerprint=model.fingerprint,
            request=model.request,
            response=model.response,
            queue=None
            if queue is None
            else QueueOverviewBody(
                ready=queue.ready,
                consumers=queue.consumers,
                dead=queue.dead,
                unacked=queue.unacked,
                oldest_seconds=rounded(queue.oldest_seconds),
            ),
            work=None if work is None else _work(work, self._window.failed(ModelName(model.name))),
            streaming=model.streaming,
            concurrency=model.limits.concurrency,
            max_batch_size=model.limits.max_batch_size,
        )


def _work(work: Throughput, failed: int) -> ThroughputBody:
    return ThroughputBody(
        in_flight=work.in_flight,
        finished_per_second=rounded(work.finished_per_second),
        failed_per_second=rounded(work.failed_per_second),
        failed=failed,
        run=QuantilesBody(p50=rounded(work.run_time.p50), p95=rounded(work.run_time.p95)),
        wait=QuantilesBody(p50=rounded(work.queue_time.p50), p95=rounded(work.queue_time.p95)),
    )


async def show_top(settings: TopSettings, *, period: float, count: int, json_wanted: bool) -> int:
    """Shows readings until the end of the process, or `count` of them.

    A server that is out of reach at the first reading is an error; later it is a part of what is shown.

    Args:
        settings: Those of the command.
        period: Seconds between two readings.
        count: Readings to show; 0 for no limit.
        json_wanted: One JSON document for each reading, on a line of its own, instead of a table.

    Raises:
        ConnectionLost: The first reading failed.
    """
    async with open_client() as http:
        source: OverviewSource = (
            GatewayOverview(http, settings.gateway_url, settings.api_key)
            if settings.gateway_url
            else RegistryOverview(RegistryClient(settings.registry_url, http, token=settings.token))
        )
        if json_wanted:
            await _print_lines(source, period, count)
        else:
            await _draw(source, period, count)
    return EXIT_OK


Show: TypeAlias = Callable[[OverviewBody | ConnectionLost], None]


async def _read_and_show(source: OverviewSource, period: float, count: int, show: Show) -> None:
    """Calls `show` with each reading, or with why there is none; raises if the first one fails."""
    shown = 0
    async for _ in every(period, immediately=True):
        try:
            with connection_timeout(source.server, TIMEOUT):
                reading: OverviewBody | ConnectionLost = await source.read()
        except ConnectionLost as lost:
            if not shown:
                raise
            reading = lost
        show(reading)
        shown += 1
        if shown == count:
            return


async def _print_lines(source: OverviewSource, period: float, count: int) -> None:
    def show(reading: OverviewBody | ConnectionLost) -> None:
        if isinstance(reading, ConnectionLost):
            line = msgspec.json.encode({"at": datetime.now(UTC), "error": str(reading)})
        else:
            line = msgspec.json.encode(reading)
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    try:
        await _read_and_show(source, period, count, show)
    except BrokenPipeError:  # the reader has what it wants; Python's own flush at the exit must not fail either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _draw(source: OverviewSource, period: float, count: int) -> None:
    last: OverviewBody | None = None
    with Live(console=console(), auto_refresh=False) as live:

        def show(reading: OverviewBody | ConnectionLost) -> None:
            nonlocal last
            lost = reading if isinstance(reading, ConnectionLost) else None
            last = last if isinstance(reading, ConnectionLost) else reading
            live.update(view(source.server, last, lost), refresh=True)

        await _read_and_show(source, period, count, show)


def view(server: str, overview: OverviewBody | None, lost: ConnectionLost | None) -> Group:
    """What a terminal shows: a headline, and a line for each model."""
    if overview is None:
        return Group(Text(one_line(f"{server}: {lost}"), style="red"))
    head = Text(f"{overview.at.astimezone(UTC):%H:%M:%S} UTC  {one_line(server)}", style="bold")
    missing = [name for name in ("registry", "broker", "figures") if not getattr(overview, name)]
    if missing:
        head.append(f"  not up to date: {', '.join(missing)}", style="yellow")
    if lost is not None:
        head.append(f"  {one_line(str(lost))}", style="red")
    if not overview.models:
        return Group(head, Text("no model has ever logged in"))
    table = new_table(
        "model", "live >", "waiting >", "oldest >", "running >", "done/s >", "failed/s >", "p50 >", "p95 >", "dead >"
    )
    for each in overview.models:
        queue, work = each.queue, each.work
        failing = 0.0 if work is None else work.failed_per_second or 0.0
        table.add_row(
            Text(one_line(each.name), "" if each.active else "red"),
            Text(f"{each.live} of {each.instances}", "" if each.live == each.instances else "yellow"),
            "-" if queue is None else str(queue.ready),
            "-" if queue is None or queue.oldest_seconds is None else age(queue.oldest_seconds) if queue.ready else "",
            "-" if work is None else str(work.in_flight),
            "-" if work is None else _rate(work.finished_per_second),
            "-" if work is None else Text(_rate(work.failed_per_second), "red" if failing else ""),
            "-" if work is None else _seconds(work.run.p50),
            "-" if work is None else _seconds(work.run.p95),
            "-" if queue is None else Text(str(queue.dead), "red" if queue.dead else ""),
        )
    return Group(head, table)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
