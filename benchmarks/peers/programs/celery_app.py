"""Celery on RabbitMQ with results in Redis: a quorum queue, confirmed messages, late acknowledgements."""

from __future__ import annotations

import time

from celery import Celery

from benchmarks.peers.driver import drive_in_threads
from benchmarks.peers.echo import AMQP, REDIS, RUN, SLEEP, answer

app = Celery(f"celery{RUN}", broker=AMQP, backend=REDIS)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},
    result_expires=3600,
    task_acks_late=True,
    task_default_queue=f"celery{RUN}",
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
)


@app.task(name="echo")
def echo(text: str) -> str:
    if SLEEP:
        time.sleep(SLEEP)
    return answer(text)


if __name__ == "__main__":
    drive_in_threads(echo.delay, lambda result: result.get(timeout=60))
