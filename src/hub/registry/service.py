"""The registry as a component: everything that runs for as long as it does."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from anyio import TASK_STATUS_IGNORED, create_task_group, move_on_after
from anyio.abc import TaskStatus
from prometheus_client import CollectorRegistry

from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import ConnectionLost, Undecodable
from hub.http.client import open_client
from hub.http.serve.server import serve
from hub.observability.process_metrics import ProcessCollector
from hub.ports.broker import Broker
from hub.ports.directory import Directory
from hub.registry.core.consumer_check import ConsumerCheck
from hub.registry.core.contracts import ContractRegistry
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.state import RegistryState
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.registry.core.table import InstanceTable
from hub.registry.http.app import registry_app
from hub.registry.metrics import LiveCollector, PingCounts, RegistrationCollector
from hub.registry.stats import StatsService
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import CONCURRENT_PINGS, Pinger
from hub.registry.tasks.probe import HttpProbe
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.settings.registry import RegistrySettings
from hub.types import new_registry_id

FLUSH_GRACE: Final = 2.0
"""Seconds that the end waits for the directory to take the last logouts; pings find out about them otherwise."""

_log = structlog.get_logger("hub.registry")


async def run_registry(
    settings: RegistrySettings,
    *,
    directory: Directory,
    broker: Broker,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Runs a registry until cancelled.

    Whom the directory remembers is pinged before the first request is accepted, so a restart lists neither the dead
    nor forgets the living. Cancellation drains: watchers are answered, requests in flight finish.

    Args:
        settings: Where to listen, whom to ping and how often.
        directory: What survives this process.
        broker: Where the queues of the models are.
        task_status: Gets the base URL once requests are accepted.

    Raises:
        ConfigurationError: The address cannot be listened on.
        ConnectionLost: The directory is out of reach at start; later losses are survived.
    """
    networks = InstanceNetworks(settings.networks)
    collectors = CollectorRegistry()
    collectors.register(ProcessCollector())
    pings = PingCounts()
    totals = StatsAggregator()
    roll = RegistryState(
        InstanceTable(
            misses=settings.ping_misses, lineage=ContractRegistry(settings.contract_mode), on_stats=totals.add
        )
    )
    with collapse_exception_group():
        async with open_client(token=settings.token, connections=CONCURRENT_PINGS) as http:
            probe = HttpProbe(http, networks)
            pinger = Pinger(
                roll,
                probe,
                period=settings.ping_period,
                timeout=settings.ping_timeout,
                mine=roll.holdings,
                misses=settings.ping_misses,
                resubscribe=probe.resubscribe,
                observe=pings,
            )
            keeper = DirectorySync(
                roll,
                directory,
                pinger,
                period=settings.ping_period,
                registry=new_registry_id(),
                contract_ttl=settings.contract_ttl,
            )
            registrar = RegistrationService(
                roll, directory, keeper, pinger, networks=networks, limits=settings.login_limits
            )
            roll.on_forgotten += [totals.forget, pinger.forget]
            consumers = ConsumerCheck(roll)
            depths = QueueMonitor(roll, broker, period=settings.depth_period, on_look=consumers)
            figures = StatsService(roll, depths, totals)
            collectors.register(
                LiveCollector(roll, depths=depths, keeper=keeper, pinger=pinger, figures=figures, pings=pings)
            )
            collectors.register(RegistrationCollector(roll, registrar, settings.login_limits))
            app = registry_app(
                roll=roll,
                registrar=registrar,
                keeper=keeper,
                pinger=pinger,
                consumers=consumers,
                history=directory.history,
                depths=depths,
                figures=figures,
                collectors=collectors,
                token=settings.token,
                hosts=settings.hosts.known_as(settings.registry_host),
            )
            await keeper.recall()
            with move_on_after(settings.ping_period):
                await keeper.start()
            _log.info("pinged whom the directory remembers", instances=len(roll.table.instances()))
            try:
                async with create_task_group() as tg:
                    tg.start_soon(pinger.run, name="hub.registry pinger")
                    tg.start_soon(keeper.run, name="hub.registry keeper")
                    tg.start_soon(depths.run, name="hub.registry depths")
                    url = await tg.start(
                        partial(serve, app, settings.registry_bind, on_drain=roll.close), name="hub.registry http"
                    )
                    task_status.started(url)
            finally:
                with move_on_after(FLUSH_GRACE, shield=True), suppress(ConnectionLost, Undecodable):
                    await keeper.flush()
