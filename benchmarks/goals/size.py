"""Goals of growth, memory, start, contracts and the registry; each benchmark writes a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.goals.goal import NEITHER, Goal, Measure
from benchmarks.goals.measured import Figure, Measured

_CODINGS: Final = ("identity", "gzip")

FLAT: Final = 1.25
"""Times the smallest cost that a cost may be anywhere, to count as flat."""


def _figure(benchmark: str, name: str, text: str) -> Measure:
    return lambda measured, backend: measured.figure(benchmark, name, backend, text)


def _worst(benchmark: str, text: str, *names: str) -> Measure:
    """The largest of some figures."""

    def measure(measured: Measured, backend: str) -> Figure | None:
        found = [measured.figure(benchmark, name, backend, text) for name in names]
        known = [figure for figure in found if figure is not None]
        return max(known, key=lambda figure: figure.value) if len(known) == len(names) else None

    return measure


def flat(benchmark: str, *curves: str) -> Measure:
    """How much the steepest of some curves grows: its last point over its first one."""

    def measure(measured: Measured, backend: str) -> Figure | None:
        record = measured.records.get(benchmark)
        points = {name: record.curve(name, backend) for name in curves} if record is not None else {}
        grown = {name: found[-1][1] / found[0][1] for name, found in points.items() if len(found) > 1 and found[0][1]}
        if len(grown) < len(curves) or not grown:
            return None
        worst = max(grown, key=grown.__getitem__)
        first, last = points[worst][0], points[worst][-1]
        return Figure(grown[worst], f"{grown[worst]:.2f}x from {first[0]:,.0f} to {last[0]:,.0f} ({worst})")

    return measure


def transcoding(measured: Measured, backend: str) -> Figure | None:
    """The message and direction in which hub is least ahead of json_format."""
    record = measured.records.get("transcoder")
    if record is None or backend not in record.parts:
        return None
    ratios = record.parts[backend].figures
    worst = min(ratios, key=ratios.__getitem__)
    return Figure(ratios[worst], f"{ratios[worst]:.1f}x ({worst})")


GROWTH: Final[Sequence[Goal]] = (
    Goal(
        key="digits",
        what="dynamic batching, Digits, 64 callers, pictures/s",
        goal=">= 5x one by one",
        bound=5.0,
        at_most=False,
        command="digits",
        measure=_figure("digits", "batched_x", "{:.1f}x"),
    ),
    Goal(
        key="transcoding",
        what="transcoding of four messages, each way",
        goal=">= 8x json_format",
        bound=8.0,
        at_most=False,
        command="goals --only transcoder",
        measure=transcoding,
        backends=NEITHER,
    ),
    Goal(
        key="fleet-logins",
        what="registry: 10,000 instances log in, 16 at a time",
        goal="<= 60 s",
        bound=60.0,
        command="fleet",
        measure=_figure("fleet", "logins_s", "{:.0f} s"),
    ),
    Goal(
        key="fleet-refused",
        what="registry: logins that it refuses",
        goal="0",
        bound=0.0,
        command="fleet",
        measure=_figure("fleet", "refused", "{:.0f}"),
    ),
    Goal(
        key="fleet-login-growth",
        what="registry: CPU of a login, the last 1,000 against the first",
        goal="O(1): <= 1.5x",
        bound=1.5,
        command="fleet",
        measure=_figure("fleet", "login_growth_x", "{:.2f}x"),
    ),
    Goal(
        key="fleet-late",
        what="registry: late beats with 10,000 instances",
        goal="0",
        bound=0.0,
        command="fleet",
        measure=_figure("fleet", "late", "{:.0f}"),
    ),
    Goal(
        key="fleet-steady",
        what="registry: pings of 10,000 instances every 10 s, of a core",
        goal="<= 0.4",
        bound=0.4,
        command="fleet",
        measure=_figure("fleet", "steady_cores", "{:.2f}"),
    ),
    Goal(
        key="fleet-dead",
        what="registry: until a dead instance is no longer live",
        goal="<= a period and a timeout, 15 s",
        bound=15.0,
        command="fleet",
        measure=_figure("fleet", "dead_s", "{:.1f} s"),
    ),
    Goal(
        key="fleet-change",
        what="registry: what a gateway receives for one change among 10,000 instances",
        goal="O(change): <= 10 kB",
        bound=10_000.0,
        command="fleet",
        measure=_figure("fleet", "change_bytes", "{:,.0f} B"),
    ),
    Goal(
        key="openapi-change",
        what="`/openapi.json` after one change among 1,000 models, CPU",
        goal="<= 10 ms",
        bound=10.0,
        command="goals --only models",
        measure=_figure("models", "gateway: /openapi.json after one change, CPU of the loop, 1000", "{:.1f} ms"),
    ),
    Goal(
        key="openapi-cached",
        what="`/openapi.json` cached, against a plain route with its bytes, CPU",
        goal="<= 2x",
        bound=2.0,
        command="goals --only models",
        measure=_worst(
            "models", "{:.2f}x", *(f"gateway: /openapi.json / plain route, {coding}, 1000" for coding in _CODINGS)
        ),
    ),
    Goal(
        key="metrics",
        what="`/metrics` of a gateway with 1,000 models, CPU",
        goal="<= 100 ms",
        bound=100.0,
        command="goals --only models",
        measure=_worst("models", "{:.0f} ms", *(f"gateway: /metrics, {coding}, 1000" for coding in _CODINGS)),
    ),
    Goal(
        key="metrics-loop",
        what="`/metrics` of a gateway with 1,000 models, longest turn of the loop",
        goal="<= 10 ms",
        bound=10.0,
        command="goals --only models",
        measure=_figure("models", "gateway: /metrics, the loop at once, 1000", "{:.1f} ms"),
    ),
    Goal(
        key="docs-quiet",
        what="`/docs` with 1,000 models, until the page is quiet",
        goal="<= 3 s",
        bound=3.0,
        command="goals --only models",
        measure=_figure("models", "API page: quiet after, 1000", "{:.1f} s"),
    ),
    Goal(
        key="dashboard-drawn",
        what="the dashboard with 1,000 models, until it is drawn",
        goal="<= 3 s",
        bound=3.0,
        command="goals --only models",
        measure=_figure("models", "dashboard: drawn after, 1000", "{:.1f} s"),
    ),
    Goal(
        key="redis-bytes",
        what="Redis per finished task of 100 B",
        goal="<= 1,000 B",
        bound=1000.0,
        command="growth",
        measure=_figure("growth", "finished_bytes", "{:,.0f} B"),
    ),
    Goal(
        key="bodies-copies",
        what="bodies of 10 MB: copies in the gateway at the peak",
        goal="<= 4",
        bound=4.0,
        command="large",
        measure=_figure("large", "copies", "{:.1f}"),
    ),
    Goal(
        key="bodies-kept",
        what="bodies of 10 MB: memory that the gateway keeps afterwards",
        goal="<= one body, 10 MB",
        bound=10.0,
        command="large",
        measure=_figure("large", "kept_mb", "{:.1f} MB"),
    ),
    Goal(
        key="flat-queue",
        what="cost of a task with more tasks queued: CPU of each process, bytes in Redis",
        goal=f"flat: <= {FLAT:g}x",
        bound=FLAT,
        command="growth",
        measure=flat("growth", "task us", "redis bytes"),
    ),
    Goal(
        key="flat-instances",
        what="CPU of the registry per ping and per login with more instances",
        goal=f"flat: <= {FLAT:g}x",
        bound=FLAT,
        command="growth",
        measure=flat("growth", "ping us", "login us"),
    ),
    Goal(
        key="flat-models",
        what="CPU of a gateway per request, and memory per model, with more models",
        goal=f"flat: <= {FLAT:g}x",
        bound=FLAT,
        command="growth",
        measure=flat("growth", "request us", "model kB"),
    ),
    Goal(
        key="help",
        what="`hub --help`",
        goal="<= 0.25 s",
        bound=0.25,
        command="start",
        measure=_figure("start", "help_s", "{:.2f} s"),
        backends=NEITHER,
    ),
    Goal(
        key="up",
        what="`hub up` until a model is live",
        goal="<= 2.5 s",
        bound=2.5,
        command="start",
        measure=_figure("start", "up_s", "{:.2f} s"),
    ),
    Goal(
        key="idle-instance",
        what="idle RSS of an instance, with RabbitMQ and Redis",
        goal="<= 70 MB",
        bound=70.0,
        command="start",
        measure=_figure("start", "instance_mb", "{:.1f} MB"),
    ),
    Goal(
        key="memory",
        what="RSS of gateway and instance after 1,000,000 tasks, against the end of the warm-up",
        goal="flat: <= 1.02x",
        bound=1.02,
        command="memory --tasks 1000000",
        measure=_figure("memory", "growth_x", "{:.3f}x"),
    ),
)
