"""The reference of the public Python API, from signatures and docstrings. Reads the code without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import griffe

from scripts.check_docs import ROOT

MODULES: Final = ("hub", "hub.client", "hub.testing")
"""The modules with a page; a name is described on that of the nearest module above its definition."""

_WIDTH: Final = 100
_SPECIAL: Final = ("__call__", "__aiter__", "__iter__")


def page(module: str) -> str:
    """The page of a module: its docstring, then each name that it exports; errors last."""
    package = _package()
    found = _module(package, module)
    lines = [f"# {module}", "", *_docstring(found), ""]
    names = exported(module)
    elsewhere = [name for name in names if _page_of(_object(found, name)) != module]
    if elsewhere:
        links = (f"[{name}]({_page_of(_object(found, name))}.md#{name.lower()})" for name in elsewhere)
        lines += [f"Also exported here: {', '.join(links)}.", ""]
    here = [(name, _object(found, name)) for name in names if name not in elsewhere]
    for name, each in sorted(here, key=lambda item: (_is_error(item[1]), item[0].lower())):
        lines += _described(name, each, level=2)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def exported(module: str) -> Sequence[str]:
    """The names of `from ... import X as X` in a module."""
    path = ROOT / "src" / module.replace(".", "/") / "__init__.py"
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return sorted({name.name for node in nodes for name in node.names if name.asname == name.name})


@cache
def _package() -> griffe.Object:
    return _plain(griffe.load("hub", search_paths=[ROOT / "src"], resolve_aliases=True))


def _module(package: griffe.Object, name: str) -> griffe.Object:
    return package if name == "hub" else _plain(package[name.removeprefix("hub.")])


def _object(module: griffe.Object, name: str) -> griffe.Object:
    return _plain(module.members[name])


def _plain(found: griffe.Object | griffe.Alias) -> griffe.Object:
    """What a name stands for, in the module that defines it."""
    return found.final_target if isinstance(found, griffe.Alias) else found


def _page_of(found: griffe.Object) -> str:
    path = found.canonical_path
    return max((module for module in MODULES if path.startswith(f"{module}.")), key=len)


def _is_error(found: griffe.Object) -> bool:
    """Whether a class is an exception: by its own bases and theirs."""
    if not isinstance(found, griffe.Class):
        return False
    return any(each.name in {"Exception", "HubError"} for each in found.mro()) or _names_error(found)


def _names_error(found: griffe.Class) -> bool:
    return any(str(base) in {"Exception", "HubError", "BaseException"} for base in found.bases)


def _described(name: str, found: griffe.Object, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield ""
    if isinstance(found, griffe.Class):
        yield from ("```python", _class_head(name, found), "```", "")
        yield from (*_docstring(found), "")
        for member, each in found.members.items():
            if isinstance(each, griffe.Object) and _is_documented(member, each):
                yield from _described(f"{name}.{member}", each, level=level + 1)
    elif isinstance(found, griffe.Function):
        yield from ("```python", *_signatures(found), "```", "")
        yield from (*_docstring(found), "")
    else:
        annotation = found.annotation if isinstance(found, griffe.Attribute) else None
        if annotation is not None:
            yield from ("```python", f"{found.name}: {annotation}", "```", "")
        yield from (*_docstring(found), "")


def _is_documented(name: str, found: griffe.Object) -> bool:
    if name.startswith("_") and name not in _SPECIAL:
        return False
    if isinstance(found, griffe.Attribute):
        return "property" in found.labels and found.docstring is not None
    return isinstance(found, griffe.Function) and (found.docstring is not None or bool(_overloads(found)))


def _class_head(name: str, found: griffe.Class) -> str:
    bases = ", ".join(str(base) for base in found.bases)
    head = f"class {name}({bases})" if bases else f"class {name}"
    init = found.members.get("__init__")
    sections = found.docstring.parse("google", warnings=False) if found.docstring else []
    documented = any(section.kind is griffe.DocstringSectionKind.parameters for section in sections)
    if isinstance(init, griffe.Function) and documented:
        made = _signature(init, name=name)
        return f"{head}\n\n{made.removesuffix(' -> None')}"
    return head


def _overloads(found: griffe.Function) -> Sequence[griffe.Function]:
    parent = found.parent
    return parent.overloads.get(found.name, []) if isinstance(parent, (griffe.Class, griffe.Module)) else []


def _signatures(found: griffe.Function) -> Iterator[str]:
    for each in _overloads(found) or [found]:
        yield _signature(each)


def _signature(found: griffe.Function, *, name: str = "") -> str:
    head = "" if name else "async def " if "async" in found.labels else "def "
    parameters = list(_parameters(found))
    returns = f" -> {found.returns}" if found.returns is not None else ""
    line = f"{head}{name or found.name}({', '.join(parameters)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{head}{name or found.name}(", *(f"    {each}," for each in parameters), f"){returns}"])


def _parameters(found: griffe.Function) -> Iterator[str]:
    kinds = griffe.ParameterKind
    star = False
    before: griffe.ParameterKind | None = None
    for each in found.parameters:
        if each.name in {"self", "cls"}:
            continue
        if before is kinds.positional_only and each.kind is not kinds.positional_only:
            yield "/"
        if each.kind is kinds.keyword_only and not star:
            yield "*"
            star = True
        star = star or each.kind is kinds.var_positional
        prefix = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(each.kind or kinds.positional_or_keyword, "")
        annotation = f": {each.annotation}" if each.annotation is not None else ""
        plain = each.default is None or bool(prefix)
        default = "" if plain else f" = {each.default}" if annotation else f"={each.default}"
        yield f"{prefix}{each.name}{annotation}{default}"
        before = each.kind
    if before is kinds.positional_only:
        yield "/"


_TITLES: Final = {
    "parameters": "Arguments",
    "attributes": "Attributes",
    "raises": "Raises",
    "returns": "Returns",
    "yields": "Yields",
}


def _docstring(found: griffe.Object) -> Iterator[str]:
    if found.docstring is None:
        return
    for section in found.docstring.parse("google", warnings=False):
        kind = section.kind.value
        if kind == "text":
            yield from (str(section.value), "")
        elif kind in _TITLES:
            yield from (f"**{_TITLES[kind]}**", "")
            for each in section.value:
                named = (
                    getattr(each, "name", "") if kind in {"parameters", "attributes"} else str(each.annotation or "")
                )
                text = " ".join(str(each.description).split())
                yield f"* `{named}`: {text}" if named else f"* {text}"
            yield ""
        else:
            yield from (str(found.docstring.value), "")
            return
