"""Python on the pages satisfies `mypy --strict`, with the names that a page takes for granted from `tests/docs/names`."""

from __future__ import annotations

import ast
import builtins
import os
import re
import subprocess
import symtable
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent

import pytest

from hub.cli.new.project import write_project
from tests.docs.blocks import ROOT, Block, blocks_to_check

BLOCKS = {block.id: block for block in blocks_to_check("python")}
NAMES = Path(__file__).with_name("names")


def names_of_page(page: str) -> Path:
    """The module with the names that snippets of a page use and do not define; of a README that of its folder."""
    path = Path(page)
    name = path.parent.name if path.name == "README.md" and path.parent.name else path.stem
    return NAMES / f"{name.lower().replace('-', '_')}.py"


def defined(path: Path) -> frozenset[str]:
    """The `__all__` of such a module."""
    body = ast.parse(path.read_text()).body if path.exists() else []
    exports = [node for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return frozenset(name for node in exports for name in ast.literal_eval(node.value))


def free_names(source: str) -> frozenset[str]:
    """The global names that a module uses and does not define."""

    def used(table: symtable.SymbolTable) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_global() or table.get_type() == "module":
                yield symbol.get_name()
        for child in table.get_children():
            yield from used(child)

    top = symtable.symtable(source, "block", "exec")
    known = {
        each.get_name() for each in top.get_symbols() if each.is_assigned() or each.is_imported() or each.is_namespace()
    }
    return frozenset(used(top)) - known - vars(builtins).keys()


def awaits_outside_of_a_function(source: str) -> bool:
    """Whether a block is part of a coroutine: it has `await` or `async with` at its top level."""
    try:
        compile(source, "block", "exec")
    except SyntaxError:
        compile(source, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return True
    return False


def module_of(block: Block, earlier: str) -> str:
    """A module with the block, after the imports of the page's earlier blocks and the names that it takes for granted."""
    text = block.text
    if awaits_outside_of_a_function(text):
        text = f"async def of_the_reader() -> None:\n{indent(text, '    ')}"
    imports = [line for line in re.findall(r"^(?:import|from) .+$", earlier, re.MULTILINE) if line not in text]
    missing = free_names("\n".join([*imports, text]))
    given = sorted(missing & defined(names_of_page(block.page)))
    taken = [f"from tests.docs.names.{names_of_page(block.page).stem} import {', '.join(given)}"] if given else []
    future = [line for line in ("from __future__ import annotations",) if line not in text]
    return "\n".join([*future, *_used(imports, text), *taken, text])


def _used(imports: list[str], text: str) -> Iterator[str]:
    """The imports that a text uses, each once: an unused one may hide what is defined later."""
    for line in dict.fromkeys(imports):
        names = [name.split(" as ")[-1].strip() for name in line.split("import ", 1)[1].split(",")]
        if any(re.search(rf"\b{re.escape(name.split('.')[0])}\b", text) for name in names):
            yield line


def modules() -> Mapping[str, str]:
    """File name -> module, for each block."""
    earlier: dict[str, str] = {}
    found: dict[str, str] = {}
    for block in BLOCKS.values():
        page = re.sub(r"\W", "_", block.page)
        name = f"page_{page}_{block.line}.py"
        found[name] = module_of(block, earlier.get(block.page, ""))
        earlier[block.page] = earlier.get(block.page, "") + block.text
    return found


def test_every_name_of_a_block_is_known() -> None:
    unknown = {name: sorted(free_names(text)) for name, text in modules().items() if free_names(text)}

    assert unknown == {}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `hub new sentiment` makes, with the second version of the messages of docs/how-to/contracts.md."""
    project = tmp_path_factory.mktemp("new") / "project"
    write_project("sentiment", "unary", project)
    first = project / "protos/sentiment/v1/sentiment.proto"
    second = project / "protos/sentiment/v2/sentiment.proto"
    second.parent.mkdir()
    second.write_text(first.read_text().replace("sentiment.v1", "sentiment.v2"))
    subprocess.run(
        ["hub", "proto", "build"], cwd=project, env=environment(), check=True, capture_output=True, timeout=60
    )
    return project


def environment() -> Mapping[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_blocks_satisfy_mypy_strict(project: Path, tmp_path: Path) -> None:
    files = modules()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # A reader's mypy, not that of this project, which has further rules.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-error-summary"]
    examples = map(str, (ROOT / "examples").glob("*/*.py"))
    command += ["--explicit-package-bases", "--namespace-packages", *files, *examples]
    paths = ":".join(map(str, (tmp_path, project, ROOT / "src", ROOT / "stubs", ROOT)))
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment(), "MYPYPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert len(files) > 15
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tests_on_how_to_pages_pass(project: Path) -> None:
    tests = [each for each in BLOCKS.values() if "/how-to/" in each.page and "async def test_" in each.text]
    for block in tests:
        name = Path(block.page).stem.replace("-", "_")
        (project / "tests" / f"test_{name}_{block.line}.py").write_text(block.text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, check=False, timeout=100
    )

    assert tests
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_names_that_are_taken_for_granted_are_used() -> None:
    text = "\n".join(modules().values())
    unused = {
        path.stem: sorted(name for name in defined(path) if not re.search(rf"\b{name}\b", text))
        for path in NAMES.glob("*.py")
        if path.stem != "__init__"
    }

    assert {page: names for page, names in unused.items() if names} == {}


def test_free_names_are_found() -> None:
    source = (
        "import anyio\n\nclass A(B):\n    x: C = 1\n    def f(self, y):\n        return [z + y + self.q for z in w()]\n"
    )

    assert free_names(source) == {"B", "C", "w"}
    assert not awaits_outside_of_a_function("async def f():\n    await g()\n")
    assert awaits_outside_of_a_function("async with f() as g:\n    await g()\n")
