"""The registry as a component: composition and lifetime of its parts."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from anyio import TASK_STATUS_IGNORED, create_task_group, move_on_after
from anyio.abc import TaskStatus

from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import ConnectionLost, Undecodable
from hub.http.serve.server import serve
from hub.observability.process_metrics import ProcessCollector
from hub.observability.prometheus import MetricsPage
from hub.ports.broker import Broker
from hub.ports.directory import Directory
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.state import RegistryState
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.registry.http.app import registry_app
from hub.registry.metrics import LiveCollector, PingCounters, RegistrationCollector
from hub.registry.stats import StatsService
from hub.registry.tasks.descriptor_reader import DescriptorReader
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.instance_http import InstanceHttp
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.probe import HttpProbe
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.settings.registry import RegistrySettings
from hub.types import new_registry_id

FLUSH_TIMEOUT: Final = 2.0
"""Seconds for the last logouts at the end; without them other registries miss the pings of those instances."""

_log = structlog.get_logger("hub.registry")


async def run_registry(
    settings: RegistrySettings,
    *,
    directory: Directory,
    broker: Broker,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Runs a registry until cancelled.

    All instances that the directory stores are pinged before the first request is accepted, so after a restart the lists
    have all live instances and no dead ones. Cancellation drains: held requests are answered, those in flight finish.

    Args:
        settings: The address to listen on, networks of the instances, periods and limits.
        directory: Storage that survives this process.
        broker: The broker with the queues of the models.
        task_status: Gets the base URL once requests are accepted.

    Raises:
        ConfigurationError: The address cannot be listened on.
        ConnectionLost: The directory is out of reach at the start; after that the registry reconnects.
    """
    networks = InstanceNetworks(settings.networks)
    pings = PingCounters()
    aggregator = StatsAggregator()
    state = RegistryState(misses=settings.ping_misses, contract_mode=settings.contract_mode, on_stats=aggregator.add)
    with collapse_exception_group():
        async with InstanceHttp(networks, token=settings.token) as instances:
            probe = HttpProbe(instances)
            pinger = Pinger(
                state,
                probe.ping,
                period=settings.ping_period,
                timeout=settings.ping_timeout,
                owned=state.leases,
                misses=settings.ping_misses,
                resubscribe=probe.resubscribe,
                observe=pings.observe,
            )
            sync = DirectorySync(
                state,
                directory,
                pinger,
                period=settings.ping_period,
                registry=new_registry_id(),
                contract_ttl=settings.contract_ttl,
            )
            registration = RegistrationService(
                state,
                directory,
                sync,
                pinger,
                descriptors=DescriptorReader(instances),
                networks=networks,
                limits=settings.login_limits,
            )
            state.on_model_forgotten += [aggregator.forget, pinger.forget]
            queues = QueueMonitor(state, broker, period=settings.depth_period)
            stats = StatsService(state, queues, aggregator)
            metrics = MetricsPage(
                ProcessCollector(),
                LiveCollector(state, queues=queues, sync=sync, pinger=pinger, stats=stats, pings=pings),
                RegistrationCollector(state, registration, settings.login_limits),
            )
            app = registry_app(
                state=state,
                registration=registration,
                sync=sync,
                pinger=pinger,
                history=directory.history,
                queues=queues,
                stats=stats,
                metrics=metrics,
                token=settings.token,
                hosts=settings.hosts.known_as(settings.registry_host),
            )
            await sync.read_contracts()
            with move_on_after(settings.ping_period):
                await sync.start()
            _log.info("pinged the stored instances", instances=len(state.instances()))
            try:
                async with create_task_group() as tg:
                    tg.start_soon(pinger.run, name="hub.registry pinger")
                    tg.start_soon(sync.run, name="hub.registry directory sync")
                    tg.start_soon(queues.run, name="hub.registry queue monitor")
                    url = await tg.start(
                        partial(serve, app, settings.registry_bind, on_drain=state.close), name="hub.registry http"
                    )
                    task_status.started(url)
            finally:
                with move_on_after(FLUSH_TIMEOUT, shield=True), suppress(ConnectionLost, Undecodable):
                    await sync.flush()
