"""The reference of HTTP routes, from the descriptions (OpenAPI) of a running gateway and its registry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from scripts.check_docs import ROOT

EXAMPLE: Final = "examples.model_a:ModelA"
"""The model whose routes stand for those of all models."""

Document = Mapping[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")


@contextmanager
def running() -> Generator[Mapping[str, str]]:
    """A `hub up` with the example on free ports; the addresses of its gateway and its registry."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    command: list[str | Path] = [
        Path(sys.executable).with_name("hub"),
        "up",
        EXAMPLE,
        "--gateway-port",
        "0",
        "--registry-port",
        "0",
    ]
    with subprocess.Popen(
        [*command, "--dashboard-port", "0"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield _addresses(process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _addresses(process: subprocess.Popen[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in process.stdout or ():
        match = re.match(r"\s+(gateway|registry)\s+(http://[^/\s]+)", line)
        if match is not None:
            found[match[1]] = match[2]
        if "Ctrl-C" in line:
            return found
    raise RuntimeError(f"hub up ended with {process.poll()} and no summary")


def descriptions() -> Mapping[str, Document]:
    """The documents of the gateway and the registry."""
    with running() as addresses:
        found: dict[str, Document] = {}
        for name, address in addresses.items():
            with urlopen(f"{address}/openapi.json", timeout=30) as reply:  # noqa: S310 - our own server
                found[name] = json.load(reply)
        return found


def page(title: str, introduction: str, document: Document) -> str:
    """The page of one server."""
    lines = [f"# {title}", "", introduction, ""]
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                lines += _operation(document, path, method, item[method])
    lines += ["## Schemas", ""]
    for name, schema in sorted(document["components"].get("schemas", {}).items()):
        lines += _schema(name, schema)
    return "\n".join(lines) + "\n"


def _operation(document: Document, path: str, method: str, operation: Document) -> Iterator[str]:
    yield f"## `{method.upper()} {path}`"
    yield ""
    for text in (operation.get("summary"), operation.get("description")):
        if text:
            yield from (str(text).rstrip(".") + ".", "")
    parameters = [_resolved(document, each) for each in operation.get("parameters", ())]
    if parameters:
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        for each in parameters:
            star = " (required)" if each.get("required") and each["in"] != "path" else ""
            yield _row(
                f"`{each['name']}`{star}", each["in"], _type(each.get("schema", {})), each.get("description", "")
            )
        yield ""
    body = operation.get("requestBody")
    if body is not None:
        content = _resolved(document, body).get("content", {})
        yield from (f"Body: {', '.join(_media(name, each) for name, each in content.items())}.", "")
    yield from ("| status | reply | content |", "|---|---|---|")
    replies: dict[tuple[str, str], list[str]] = {}
    for status, reply in sorted(operation["responses"].items()):
        found = _resolved(document, reply)
        content = ", ".join(_media(name, each) for name, each in found.get("content", {}).items())
        replies.setdefault((found.get("description", ""), content), []).append(
            "others" if status == "default" else status
        )
    for (description, content), statuses in replies.items():
        yield _row(", ".join(statuses), description, content)
    yield ""


def _schema(name: str, schema: Document) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if schema.get("description"):
        yield from (str(schema["description"]), "")
    properties: Mapping[str, Document] = schema.get("properties", {})
    if not properties:
        yield from (f"{_type(schema)}", "")
        return
    required: Sequence[str] = schema.get("required", ())
    yield from ("| member | type | meaning |", "|---|---|---|")
    for member, each in properties.items():
        yield _row(
            f"`{member}`" + ("" if member in required else " (optional)"), _type(each), each.get("description", "")
        )
    yield ""


def _media(name: str, content: Document) -> str:
    kind = _type(content.get("schema", {}))
    return f"`{name}`" if kind == "any" else f"`{name}`: {kind}"


def _resolved(document: Document, part: Document) -> Document:
    while "$ref" in part:
        found: Any = document
        for name in str(part["$ref"]).removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        part = found
    return part


def _type(schema: Document) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{re.sub(r'[^a-z0-9_-]', '', name.lower())})"
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    names = kind if isinstance(kind, list) else [kind]
    shown = " or ".join(str(each) for each in names)
    return f"{shown} ({schema['format']})" if "format" in schema else shown


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
