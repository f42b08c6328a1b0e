"""Whether a gateway can take work."""

from __future__ import annotations

from typing import final

from hub.gateway.models.catalog import Catalog
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore


@final
class Health:
    """Looks at what is known already; asking never waits and never does I/O."""

    def __init__(self, catalog: Catalog, broker: Broker, store: ResultStore) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store

    def broker_nodes(self) -> int:
        """How many nodes of the broker it is connected to."""
        return sum(links > 0 for links in self._broker.statistics().nodes.values())

    def reasons(self) -> tuple[str, ...]:
        """Why it cannot, as sentences; empty when it can."""
        broker, store = self._broker.statistics(), self._store.statistics()
        blocked = () if broker.blocked is None else (f"the broker takes no messages: {broker.blocked}",)
        links = {
            "the registry is out of reach; the last known list of models stands": self._catalog.connected,
            "the broker is out of reach": broker.connected,
            "the result store is out of reach": store.connected,
        }
        refused = () if store.refusal is None else (f"the result store takes no changes: {store.refusal}",)
        return (*(reason for reason, connected in links.items() if not connected), *blocked, *refused)
