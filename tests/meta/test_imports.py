"""Imports in src/hub point one way, and only adapters of asyncio-only libraries know an event loop by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "errors observability.code_origin observability.redaction observability.tracing safe_text v1",
        "types histogram observability.tracebacks concurrency.exceptions concurrency.forking concurrency.in_context concurrency.notify",
        "concurrency.periodic concurrency.retrying concurrency.threads concurrency.timeouts concurrency.uvloop_runner",
        "concurrency.offload contract.errors contract.patterns observability.watchdog urls tls",
        "contract.descriptors concurrency.batching concurrency.reconnect",
        "concurrency.services contract.rules",
        "contract.comments contract.contract contract.protojson",
        "contract.compiled contract.jsonschema contract.source",
        "contract.compatibility",
        "contract task stats",
        "ports",
        "dead_letters amqp redis observability.prometheus",
        "observability.connection_metrics",
        "brokers.options",
        "brokers.topology brokers.publishing stores.options stores.waiters stores.timing stores.recent stores.orphans",
        "brokers.dead_letters brokers.delays brokers.x_death stores.running directories.leasing",
        "brokers.rabbitmq brokers.aiormq brokers.memory stores.memory stores.redis directories.memory directories.redis",
        "brokers stores directories",
        "submission",
        "http.problem_document",
        "http.headers http.problems http.serve.server_counts http.media_types http.disconnect http.long_polling http.sse http.auth http.client http.dependencies",
        "http.negotiation http.conditional",
        "http.middleware http.described",
        "http.serve http.streaming",
        "web observability.process_metrics",
        "settings",
        "observability.log_lines",
        "observability.logs concurrency.process",
        "registry.client",
        "registry.core",
        "registry.tasks",
        "registry.stats",
        "registry.http registry.metrics",
        "registry.service",
        "gateway.errors gateway.memory",
        "gateway.models",
        "gateway.schemas",
        "gateway.tasks",
        "gateway.streams",
        "gateway.batch gateway.dashboard",
        "gateway.openapi",
        "gateway.routes",
        "gateway.app",
        "gateway.service",
        "model.errors model.misspellings model.retry",
        "model.definition",
        "model.model",
        "model.calls",
        "model.current",
        "model.execution",
        "model.worker",
        "model.instance",
        "model",
        "client",
        "cli",
        "testing",
    )
)
"""From the bottom up. A name is a module or a folder of `hub`, and what the longest name that fits is the part of a module.

A part imports from itself and from the rows above its own in this list, never sideways.
"""

APART: dict[str, frozenset[str]] = {
    "gateway": frozenset({"model", "registry.core", "registry.tasks", "registry.http", "registry.service"}),
    "model": frozenset({"gateway", "registry.core", "registry.tasks", "registry.http", "registry.service"}),
    "registry": frozenset({"gateway", "model"}),
    "client": frozenset({"gateway", "registry", "submission", "brokers", "stores", "directories"}),
}
"""Components that only talk over the network: what a component must not import, though it is in a lower row."""

LOOPS = frozenset({"asyncio", "trio", "threading", "concurrent", "multiprocessing"})
LOOP_ADAPTERS = ("aiormq", "redispy", "threads")
FACADE = "hub/__init__.py"


@dataclass(frozen=True, slots=True)
class Import:
    """`module` is imported by the module at `path`, which belongs to `part`; `typing` if only type checkers see it."""

    path: str
    part: str
    line: int
    module: str
    typing: bool


def imports(root: Path) -> Iterator[Import]:
    """Every import below root/hub, also those in functions and under TYPE_CHECKING; relative ones resolved."""
    for file in sorted((root / "hub").rglob("*.py")):
        yield from _imports_of(file.relative_to(root), file.read_text())


@cache
def _imports_of(path: Path, text: str) -> Sequence[Import]:
    # `python -m hub.registry` is a command: its module may use the command line's, wherever it lies.
    part = "cli" if path.name == "__main__.py" else part_of(".".join(path.with_suffix("").parts[1:]))
    nodes = list(ast.walk(ast.parse(text)))
    typing = {inner for node in nodes if is_for_type_checkers(node) for inner in ast.walk(node)}
    found: list[Import] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [Import(str(path), part, node.lineno, alias.name, node in typing) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = path.parts[: -node.level] if node.level else ()
            module = ".".join((*start, *filter(None, [node.module])))
            found += [
                Import(str(path), part, node.lineno, f"{module}.{alias.name}", node in typing) for alias in node.names
            ]
    return found


def part_of(name: str) -> str:
    """The longest name of `LAYERS` that `name`, without `hub.`, is or lies in; otherwise the first part of `name`."""
    parts = name.removesuffix(".__init__").split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((each for each in names if any(each in row for row in LAYERS)), parts[0])


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_against_the_layers(root: Path) -> list[str]:
    row = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for found in imports(root):
        names = found.module.split(".")
        if names[0] != "hub" or found.path == FACADE:
            continue
        target = part_of(".".join(names[1:])) if len(names) > 1 else "__init__"
        if found.part not in row:
            wrong.append(f"{found.path}: {found.part} has no row in LAYERS")
        elif target not in row:
            wrong.append(f"{found.path}:{found.line}: {found.module} is not in LAYERS; name the module that defines it")
        elif target != found.part and row[target] >= row[found.part]:
            wrong.append(f"{found.path}:{found.line}: {found.part} imports from {target}")
        elif any(within(target, other) for other in APART.get(found.part.partition(".")[0], ())):
            wrong.append(f"{found.path}:{found.line}: {found.part} imports from {target}, another component")
    return wrong


def within(part: str, folder: str) -> bool:
    return part == folder or part.startswith(f"{folder}.")


def cycles(root: Path) -> list[str]:
    """Modules that import each other when they are loaded or called. Two types may name each other."""
    files = {".".join(file.relative_to(root).with_suffix("").parts) for file in (root / "hub").rglob("*.py")}
    modules = {name.removesuffix(".__init__") for name in files}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports(root):
        source = ".".join(Path(found.path).with_suffix("").parts).removesuffix(".__init__")
        target = found.module if found.module in modules else found.module.rpartition(".")[0]
        if target in modules and target != source and not found.typing:
            graph[source].add(target)
    found_cycles: list[str] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found_cycles.append(" -> ".join([*path[path.index(module) :], module]))
            return
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(modules):
        visit(module, [])
    return found_cycles


def imports_of_event_loops(root: Path) -> list[str]:
    return [
        f"{found.path}:{found.line}: {found.module}"
        for found in imports(root)
        if (found.module.split(".")[0] in LOOPS or found.module == "time.sleep")
        and found.part != "testing"
        and not any(adapter in part for adapter in LOOP_ADAPTERS for part in Path(found.path).with_suffix("").parts)
    ]


def calls_of_time_sleep(root: Path) -> list[str]:
    return [
        f"{file.relative_to(root)}:{node.lineno}: time.sleep"
        for file in sorted((root / "hub").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
        if isinstance(node.value, ast.Name) and node.value.id == "time"
    ]


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "hub" / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_point_one_way() -> None:
    assert imports_against_the_layers(SOURCES) == []


def test_no_module_imports_itself_through_others() -> None:
    assert cycles(SOURCES) == []


def test_only_named_adapters_know_an_event_loop_or_threads() -> None:
    assert imports_of_event_loops(SOURCES) + calls_of_time_sleep(SOURCES) == []


def test_every_part_has_its_row_and_every_row_its_part() -> None:
    files = (path.relative_to(SOURCES / "hub") for path in (SOURCES / "hub").rglob("*.py"))
    modules = {".".join(path.with_suffix("").parts) for path in files if path.stem != "__main__"} - {"__init__"}
    folders_alone = {
        "concurrency.__init__",
        "gateway.__init__",
        "http.__init__",
        "observability.__init__",
        "registry.__init__",
    }

    assert {part_of(module) for module in modules - folders_alone} == set().union(*LAYERS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("from hub.gateway.service import run_gateway", "ports imports from gateway", id="from"),
        pytest.param("import hub.cli.app", "ports imports from cli", id="import"),
        pytest.param("from hub import stores", "ports imports from stores", id="package"),
        pytest.param("from . import stores", "ports imports from stores", id="relative"),
        pytest.param("def f():\n    from hub.model import Model", "ports imports from model", id="in a function"),
        pytest.param("from hub import Model", "hub.Model is not in LAYERS", id="facade"),
    ],
)
def test_an_import_that_points_back_is_found(text: str, complaint: str, tmp_path: Path) -> None:
    (wrong,) = imports_against_the_layers(tree(tmp_path, ports=text))

    assert complaint in wrong


def test_an_import_in_a_new_folder_is_found(tmp_path: Path) -> None:
    (wrong,) = imports_against_the_layers(tree(tmp_path, newcomer__in__thing="import hub.errors"))

    assert "newcomer has no row" in wrong


def test_an_import_sideways_is_found(tmp_path: Path) -> None:
    (wrong,) = imports_against_the_layers(tree(tmp_path, model__in__worker="import hub.gateway.tasks.service"))

    assert "model.worker imports from gateway.tasks" in wrong


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("gateway__in__catalog", "hub.registry.core.table"),
        ("model__in__instance__in__routes", "hub.registry.service"),
        ("registry__in__service", "hub.model.model"),
    ],
)
def test_an_import_of_another_component_is_found(importer: str, imported: str, tmp_path: Path) -> None:
    assert len(imports_against_the_layers(tree(tmp_path, **{importer: f"import {imported}"}))) == 1


def test_the_client_of_the_registry_may_be_imported(tmp_path: Path) -> None:
    text = "import hub.registry.client.client"

    assert imports_against_the_layers(tree(tmp_path, model__in__instance__in__routes=text)) == []


def test_a_module_belongs_to_the_innermost_folder_that_has_a_row() -> None:
    assert part_of("registry.core.table") == "registry.core"
    assert part_of("contract.__init__") == part_of("contract.InvalidContract") == "contract"


def test_a_cycle_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, a__in__one="from hub.a.two import x", a__in__two="from hub.a import one", a__in__three="")

    assert cycles(root) == ["hub.a.one -> hub.a.two -> hub.a.one"]


def test_types_may_name_each_other(tmp_path: Path) -> None:
    root = tree(tmp_path, a__in__one="from hub.a.two import x", a__in__two="if TYPE_CHECKING:\n    import hub.a.one")

    assert cycles(root) == []


@pytest.mark.parametrize(
    "text", ["import asyncio", "from trio.testing import MockClock", "import threading", "from time import sleep"]
)
def test_an_event_loop_outside_an_adapter_is_found(text: str, tmp_path: Path) -> None:
    root = tree(tmp_path, brokers__in__aiormq_link=text, testing__in__clock=text, brokers__in__memory=text)

    (wrong,) = imports_of_event_loops(root)

    assert wrong.startswith("hub/brokers/memory.py:1:")


def test_a_blocking_sleep_is_found(tmp_path: Path) -> None:
    assert calls_of_time_sleep(tree(tmp_path, ports="import time\ntime.sleep(1)")) == ["hub/ports.py:2: time.sleep"]
