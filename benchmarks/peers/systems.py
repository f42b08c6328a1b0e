"""What is measured: the programs of each system, and which scenarios it takes part in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from benchmarks.peers.environment import PYTHON

PORT: Final = "port"

Backend = Literal["asyncio", "trio"]

PEERS: Final = str(PYTHON)
BIN: Final = str(PYTHON.parent)
OURS: Final = (sys.executable, "-m", "benchmarks.peers.ours")
PROGRAMS: Final = "benchmarks.peers.programs"


QUEUE_SCENARIOS: Final = ("many", "alone", "10k", "1m", "naps")
WITH_SLOTS: Final = (*QUEUE_SCENARIOS, "slots")
HTTP_SCENARIOS: Final = ("call", "submit", "streams")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process of a system. `{name}` in its command and its environment stands for a value of the run.

    Attributes:
        role: What its CPU is listed under.
        command: The program.
        ready: A text in its log once it works, `PORT` if its port answers then; without one its first tasks wait for it.
        environment: Variables.
    """

    role: str
    command: Sequence[str]
    ready: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class System:
    """A system under measurement.

    Attributes:
        name: As the page has it.
        key: For the command line.
        parts: What runs beside the driver.
        driver: The process that sends: takes the commands of `benchmarks.peers.driver`.
        queue: Where its tasks wait.
        durable: What is safe when a server is killed, in words.
        packages: Whose versions are listed.
        store: Whether its results are in Redis, so that they can be counted there.
        sleeping: The command of a worker for many tasks that sleep, if it is another one.
        scenarios: What it takes part in.
        submit: Path of its route that answers as soon as a task is accepted.
        streams: Path of its route that streams.
    """

    name: str
    key: str
    parts: Sequence[Part]
    driver: Sequence[str]
    queue: str
    durable: str
    packages: Sequence[str] = ()
    store: bool = True
    sleeping: Sequence[str] = ()
    scenarios: Sequence[str] = QUEUE_SCENARIOS
    submit: str = ""
    streams: str = ""


def _peer(name: str, *arguments: str) -> Sequence[str]:
    return (f"{BIN}/{name}", *arguments)


def _sender(name: str, *arguments: str) -> Sequence[str]:
    return (PEERS, "-m", f"{PROGRAMS}.{name}", *arguments)


def _hub_queue(backend: Backend) -> System:
    return System(
        name=f"hub, {backend}",
        key=f"hub-{backend}",
        parts=[Part(role="worker", command=(*OURS, "work", "--backend", backend), ready="working")],
        driver=(*OURS, "send", "--backend", backend),
        queue="RabbitMQ, quorum queue",
        durable="persistent, confirmed, result stored before the acknowledgement",
        scenarios=WITH_SLOTS,
    )


def _streaq(backend: Backend) -> System:
    return System(
        name=f"streaQ, {backend}",
        key=f"streaq-{backend}",
        parts=[
            Part(
                role="worker",
                command=_peer("streaq", "run", f"{PROGRAMS}.streaq_app:worker"),
                environment={"BENCH_BACKEND": backend},
            )
        ],
        driver=_sender("streaq_app", backend),
        queue="Redis stream",
        durable="as durable as Redis, result stored",
        packages=("streaq",),
    )


def _repid(name: str, key: str, results: str, *, store: bool) -> System:
    kept = {"BENCH_STORE": "1" if store else ""}
    return System(
        name=name,
        key=key,
        parts=[Part(role="worker", command=_sender("repid_app", "work"), ready="working", environment=kept)],
        driver=_sender("repid_app", "send"),
        queue="RabbitMQ by AMQP 1.0, quorum queue",
        durable=f"persistent, not confirmed (repid sends settled messages); {results}",
        packages=("repid",),
        store=store,
        scenarios=WITH_SLOTS if store else ("many", "slots"),
    )


QUEUES: Final[Sequence[System]] = (
    _hub_queue("asyncio"),
    _hub_queue("trio"),
    System(
        name="taskiq + aio-pika + redis",
        key="taskiq",
        parts=[
            Part(
                role="worker",
                command=_peer(
                    *("taskiq", "worker", f"{PROGRAMS}.taskiq_app:broker", "--workers", "1"),
                    *(
                        "--max-async-tasks",
                        "{concurrency}",
                        "--max-prefetch",
                        "{concurrency}",
                        "--no-configure-logging",
                    ),
                ),
            )
        ],
        driver=_sender("taskiq_app"),
        queue="RabbitMQ, quorum queue",
        durable="persistent, confirmed, result stored before the acknowledgement",
        packages=("taskiq", "taskiq-aio-pika", "taskiq-redis", "aio-pika"),
        scenarios=WITH_SLOTS,
    ),
    System(
        name="dramatiq",
        key="dramatiq",
        parts=[
            Part(
                role="worker",
                command=_peer("dramatiq", f"{PROGRAMS}.dramatiq_app", "--threads", "8", "--processes", "1"),
            )
        ],
        sleeping=_peer("dramatiq", f"{PROGRAMS}.dramatiq_app", "--threads", "100", "--processes", "1"),
        driver=_sender("dramatiq_app"),
        queue="RabbitMQ, classic queue",
        durable="persistent, confirmed, result stored before the acknowledgement",
        packages=("dramatiq", "pika"),
    ),
    System(
        name="Celery",
        key="celery",
        parts=[
            Part(
                role="worker",
                command=_peer(
                    *(
                        "celery",
                        "-A",
                        f"{PROGRAMS}.celery_app",
                        "worker",
                        "--concurrency",
                        "2",
                        "--loglevel",
                        "WARNING",
                    ),
                    *("--without-gossip", "--without-mingle"),
                ),
            )
        ],
        sleeping=_peer(
            *("celery", "-A", f"{PROGRAMS}.celery_app", "worker", "--pool", "threads", "--concurrency", "100"),
            *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
        ),
        driver=_sender("celery_app"),
        queue="RabbitMQ, quorum queue",
        durable="persistent, confirmed, late acknowledgement, result stored",
        packages=("celery", "kombu"),
    ),
    _streaq("asyncio"),
    _streaq("trio"),
    System(
        name="FastStream RPC",
        key="faststream",
        parts=[
            Part(
                role="worker",
                command=_peer("faststream", "run", f"{PROGRAMS}.faststream_app:app", "--app-dir", "."),
            )
        ],
        driver=_sender("faststream_app"),
        queue="RabbitMQ, quorum queue",
        durable="persistent, confirmed; the reply goes to a direct-reply queue and is not stored",
        packages=("faststream",),
        store=False,
    ),
    _repid("repid + Redis", "repid", "result stored by the program of the benchmark", store=True),
    _repid(
        "repid, nothing stored", "repid-bare", "the reply goes over a channel of Redis and is not stored", store=False
    ),
)

_HUB: Final = (sys.executable, "-m", "hub")


def _hub_http(backend: Backend) -> System:
    common = {"HUB_BACKEND": backend, "HUB_LOG_LEVEL": "warning", "HUB_BROKER_URL": "{amqp}"}
    links = common | {"HUB_REGISTRY_URL": "http://127.0.0.1:{port2}", "HUB_STORE_URL": "{redis}"}
    registry = common | {"HUB_REGISTRY_PORT": "{port2}", "HUB_DIRECTORY_URL": "{directory}"}
    gateway = links | {"HUB_GATEWAY_PORT": "{port}", "HUB_DASHBOARD_PORT": "0", "HUB_QUEUE_LIMIT": "100000"}
    instance = links | {"HUB_LOG_LEVEL": "info"}
    return System(
        name=f"hub, {backend}",
        key=f"hub-{backend}",
        parts=[
            Part(role="registry", command=(*_HUB, "registry"), environment=registry, ready=PORT),
            Part(role="server", command=(*_HUB, "gateway"), environment=gateway, ready=PORT),
            Part(
                role="worker",
                command=(*_HUB, "model", "benchmarks.peers.ours:BenchEcho"),
                environment=instance,
                ready="is up",
            ),
            Part(
                role="streamer",
                command=(*_HUB, "model", "benchmarks.peers.ours:BenchStream"),
                environment=instance,
                ready="is up",
            ),
        ],
        driver=(sys.executable, "-m", "benchmarks.peers.http_load", "http://127.0.0.1:{port}/v1/models/BenchEcho{run}"),
        queue="RabbitMQ, quorum queue",
        durable="persistent, confirmed, result stored before the acknowledgement",
        scenarios=HTTP_SCENARIOS,
        submit="/v1/models/BenchEcho{run}/tasks",
        streams="/v1/models/BenchStream{run}",
    )


def _load(path: str) -> Sequence[str]:
    return (sys.executable, "-m", "benchmarks.peers.http_load", "http://127.0.0.1:{port}" + path)


HTTP: Final[Sequence[System]] = (
    _hub_http("asyncio"),
    _hub_http("trio"),
    System(
        name="FastAPI + taskiq",
        key="fastapi",
        parts=[
            *QUEUES[2].parts,
            Part(
                role="server",
                command=_peer(
                    *(
                        "uvicorn",
                        f"{PROGRAMS}.fastapi_app:app",
                        "--port",
                        "{port}",
                        "--no-access-log",
                        "--log-level",
                        "warning",
                    ),
                ),
                ready=PORT,
            ),
        ],
        driver=_load("/echo"),
        queue=QUEUES[2].queue,
        durable=QUEUES[2].durable,
        packages=("fastapi", "uvicorn", "taskiq"),
        scenarios=("call", "submit"),
        submit="/submit",
    ),
    System(
        name="LitServe",
        key="litserve",
        parts=[Part(role="server", command=_sender("litserve_app"), ready=PORT)],
        driver=_load("/predict"),
        queue="in memory",
        durable="none",
        packages=("litserve",),
        store=False,
        scenarios=("call",),
    ),
    System(
        name="BentoML",
        key="bentoml",
        parts=[
            Part(
                role="server",
                command=_peer(
                    "bentoml", "serve", f"{PROGRAMS}.bentoml_app:Echo", "--port", "{port}", "--working-dir", "."
                ),
                ready=PORT,
            )
        ],
        driver=_load("/echo"),
        queue="in memory",
        durable="none",
        packages=("bentoml",),
        store=False,
        scenarios=("call",),
    ),
    System(
        name="Litestar alone, on hub's server",
        key="litestar",
        parts=[Part(role="server", command=(*OURS, "litestar"), ready=PORT)],
        driver=_load("/echo"),
        queue="none",
        durable="none",
        store=False,
        scenarios=("call",),
    ),
)
