"""The adapters of the `Broker` port, and the one place that picks one of them by URL."""

from hub.brokers.opening import open_broker as open_broker
from hub.brokers.options import BrokerOptions as BrokerOptions, QueueType as QueueType
