"""The Prometheus exposition: metric families from plain numbers, in the requested format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol, TypeAlias, final

from anyio.lowlevel import checkpoint
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import UNDERSCORES, escape_label_name, escape_metric_name
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]  # it has no types
from typing_extensions import override

from hub.histogram import HistogramSnapshot

END: Final = b"# EOF\n"
"""The last line of the OpenMetrics format."""

_VERSIONS: Final = {"application/openmetrics-text": ("", "1.0.0"), "text/plain": ("", "0.0.4", "1.0.0")}
"""The supported versions of each format. For any other `Accept` it is Prometheus's text format, without a version."""

_ESCAPINGS: Final = ("allow-utf-8", "underscores", "dots", "values")
"""Supported escapings of names outside of the old alphabet."""

_SLICE: Final = 1000
"""Lines that are written in one go: about half a millisecond. Other tasks run in between."""

_KEPT: Final = 0.2
"""What a row that has not changed costs, in lines that are written."""

_EXPONENT: Final = 1_000_000
"""From this number on Go writes an exponent."""

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})

Value: TypeAlias = float | HistogramSnapshot
Rows: TypeAlias = Iterable[tuple[Sequence[str], Value]]
"""Values of the labels, and the number or the histogram."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFamily:
    """One metric with its series.

    Attributes:
        name: Its name; that of a counter without `_total`, which is added.
        text: What it means.
        kind: `gauge`, `counter` or `histogram`.
        labels: Names of the labels.
        rows: The series. May be an iterator that is read between checkpoints of other tasks, so what it reads must not be a
            collection that they change.
    """

    name: str
    text: str
    kind: str
    labels: tuple[str, ...]
    rows: Rows


class MetricSource(Protocol):
    """Reads the metrics of a component from memory."""

    def collect(self) -> Iterable[MetricFamily]: ...


@final
class MetricsPage:
    """The metrics of some components. Lines of series that have not changed since the last scrape are kept.

    They take as many bytes of memory as the page, 4 kB for each model of a gateway.

    Args:
        sources: Read in this order; each family belongs to one of them.
    """

    def __init__(self, *sources: MetricSource) -> None:
        self._sources = sources
        self._written: dict[str, dict[tuple[str, ...], tuple[Value, str]]] = {}

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that `accept` prefers, and its media type. Other tasks run meanwhile.

        Args:
            accept: The request's `Accept`: Prometheus's text format or OpenMetrics.
        """
        end, media_type = exposition(_Head(), accept)
        escaping = media_type.partition("escaping=")[2] or UNDERSCORES
        parts: list[str] = []
        work = 0.0
        for source in self._sources:
            for family in source.collect():
                parts.append(exposition(_Head(family), accept)[0].removesuffix(END).decode())
                series = _Series(family, escaping)
                known, written = self._written.get(series.name, {}), dict[tuple[str, ...], tuple[Value, str]]()
                for values, value in family.rows:
                    key = tuple(values)
                    kept = known.get(key)
                    if kept is None or kept[0] != value:
                        kept = value, series.lines(key, value)
                        work += kept[1].count("\n")
                    written[key] = kept
                    parts.append(kept[1])
                    work += _KEPT
                    if work > _SLICE:
                        work = 0.0
                        await checkpoint()
                self._written[series.name] = written
        await checkpoint()
        return "".join(parts).encode() + end, media_type


def exposition(registry: Collector, accept: str) -> tuple[bytes, str]:
    """Metrics of `prometheus_client` in the format that `Accept` requests, with its media type."""
    encode, media_type = choose_encoder(",".join(_understood(accept)))
    if media_type.startswith("text/"):
        media_type = media_type.removesuffix("; charset=utf-8")  # Litestar adds it to every text
    return encode(registry), media_type


def _understood(accept: str) -> Iterator[str]:
    """The supported formats in `Accept`, with their relevant parameters: the library fails on any other version."""
    for element in accept.split(","):
        name, *parameters = (part.strip() for part in element.lower().split(";"))
        found = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        version = found.get("version", "").strip('"')
        escaping = found.get("escaping", "").strip('"')
        if name in _VERSIONS and version in _VERSIONS[name] and found.get("q") != "0":
            yield ";".join(
                [
                    name,
                    *([f"version={version}"] if version else []),
                    *([f"escaping={escaping}"] if escaping in _ESCAPINGS else []),
                ]
            )


def gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> MetricFamily:
    return MetricFamily(name=name, text=text, kind="gauge", labels=tuple(labels), rows=rows)


def counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> MetricFamily:
    """`name` has no `_total`, which is added."""
    return MetricFamily(name=name, text=text, kind="counter", labels=tuple(labels), rows=rows)


def histogram(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], HistogramSnapshot]]
) -> MetricFamily:
    return MetricFamily(name=name, text=text, kind="histogram", labels=tuple(labels), rows=rows)


@final
class _Head(Collector):
    """A family without series, which `prometheus_client` writes as the lines in front of these."""

    def __init__(self, family: MetricFamily | None = None) -> None:
        self._families = [] if family is None else [Metric(family.name, family.text, family.kind)]

    @override
    def collect(self) -> Iterable[Metric]:
        return self._families


@final
class _Series:
    """Writes the series of a family: the lines are those of `prometheus_client`, and the same in both formats."""

    def __init__(self, family: MetricFamily, escaping: str) -> None:
        suffixes = ("_bucket", "_count", "_sum") if family.kind == "histogram" else ()
        suffix = "_total" if family.kind == "counter" else ""
        self.name, *self._parts = (escape_metric_name(family.name + end, escaping) for end in (suffix, *suffixes))
        self._labels = [escape_label_name(label, escaping) for label in family.labels]

    def lines(self, values: Sequence[str], value: Value) -> str:
        pairs = {name: text.translate(_ESCAPES) for name, text in zip(self._labels, values, strict=True)}
        braces = _braces(pairs)
        if not isinstance(value, HistogramSnapshot):
            return f"{self.name}{braces} {_number(value)}\n"
        before, after = _braces({**pairs, "le": "\n"}).split("\n")  # in values it is escaped
        bucket, count, total = self._parts
        before = bucket + before
        totals = list(map(_number, accumulate(value.counts)))
        buckets = [
            f"{before}{bound}{after} {number}\n"
            for bound, number in zip([*map(str, value.bounds), "+Inf"], totals, strict=True)
        ]
        return "".join([*buckets, f"{count}{braces} {totals[-1]}\n", f"{total}{braces} {_number(value.sum)}\n"])


def _number(value: float) -> str:
    if type(value) is int and 0 <= value < _EXPONENT:  # most are counts, for which the library takes five times as long
        return f"{value}.0"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _braces(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{text}"' for name, text in sorted(pairs.items())) + "}" if pairs else ""
