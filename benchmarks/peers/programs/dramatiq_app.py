"""dramatiq on RabbitMQ with results in Redis, and confirmed messages."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.driver import drive_in_threads
from benchmarks.peers.echo import AMQP, REDIS, RUN, SLEEP, answer

broker = RabbitmqBroker(url=AMQP, confirm_delivery=True)
broker.add_middleware(Results(backend=RedisBackend(url=REDIS)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=f"dramatiq{RUN}", store_results=True, max_retries=0)
def echo(text: str) -> str:
    if SLEEP:
        time.sleep(SLEEP)
    return answer(text)


if __name__ == "__main__":
    drive_in_threads(echo.send, lambda message: message.get_result(block=True, timeout=60_000))
