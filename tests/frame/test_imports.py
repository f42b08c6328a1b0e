"""Imports in src/hub point one way, and only adapters of asyncio-only libraries know an event loop by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "errors tracing texts code_origin redaction",
        "vocabulary v1 histogram tracebacks threads",
        "contract watchdog",
        "task load",
        "ports",
        "supervision grouping dead_letters forking loop_uvloop offload urls tls",
        "amqp redis",
        "brokers stores directories",
        "http",
        "web",
        "settings",
        "log_lines",
        "logs lifecycle",
        "registry",
        "model gateway",
        "cli",
        "testing",
    )
)
"""From the bottom up: a part imports from itself and from the rows above its own in this list, never sideways."""

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
        path = file.relative_to(root)
        # `python -m hub.registry` is a command: its module may use the command line's, wherever it lies.
        part = "cli" if path.name == "__main__.py" else path.with_suffix("").parts[1]
        module_tree = ast.parse(file.read_text())
        typing = {inner for node in ast.walk(module_tree) if is_for_type_checkers(node) for inner in ast.walk(node)}
        for node in ast.walk(module_tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(str(path), part, node.lineno, alias.name, node in typing)
            elif isinstance(node, ast.ImportFrom):
                start = path.parts[: -node.level] if node.level else ()
                module = ".".join((*start, *filter(None, [node.module])))
                for alias in node.names:
                    yield Import(str(path), part, node.lineno, f"{module}.{alias.name}", node in typing)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_against_the_layers(root: Path) -> list[str]:
    row = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for found in imports(root):
        names = found.module.split(".")
        if names[0] != "hub" or found.path == FACADE:
            continue
        target = names[1] if len(names) > 1 else "__init__"
        if found.part not in row:
            wrong.append(f"{found.path}: {found.part} has no row in LAYERS")
        elif target not in row:
            wrong.append(f"{found.path}:{found.line}: {found.module} is not in LAYERS; name the module that defines it")
        elif target != found.part and row[target] >= row[found.part]:
            wrong.append(f"{found.path}:{found.line}: {found.part} imports from {target}")
    return wrong


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
        and not any(adapter in Path(found.path).stem for adapter in LOOP_ADAPTERS)
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
    parts = {path.stem for path in (SOURCES / "hub").iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))}

    assert parts - {"__init__", "__main__"} == set().union(*LAYERS)


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

    assert "model imports from gateway" in wrong


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

    assert wrong.startswith("hub/brokers/memory/broker.py:1:")


def test_a_blocking_sleep_is_found(tmp_path: Path) -> None:
    assert calls_of_time_sleep(tree(tmp_path, ports="import time\ntime.sleep(1)")) == ["hub/ports.py:2: time.sleep"]
