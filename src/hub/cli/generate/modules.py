"""The modules of models: a class with `await` and one without, from templates that fit ruff's format as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from keyword import iskeyword
from textwrap import wrap
from typing import Final

from hub.cli.generate.messages import MessageSet, printable_lines
from hub.cli.generate.naming import ModelNames
from hub.cli.new.project import FileTemplate
from hub.client import ModelContract
from hub.errors import ConfigurationError

WIDTH: Final = 88
"""Characters of a line: ruff's default."""

_CLASS_INDENT: Final = 4
_METHOD_INDENT: Final = 8


def package_module(contracts: Mapping[str, ModelContract], names: Mapping[str, ModelNames], package: str) -> str:
    """The module `__init__`, with all models."""
    models = sorted((names[model].module, model) for model in contracts)
    listed = [
        wrap(f"* `{module}`: {_title(contracts[model])}", WIDTH, subsequent_indent="  ") for module, model in models
    ]
    values = {
        "package": package,
        "listed": "\n".join(line for lines in listed for line in lines),
        "modules": "\n".join(f"    {module} as _{module}," for module, _ in models),
    }
    for kind, prefix in (("members", ""), ("sync_members", "Sync")):
        values[kind] = "\n".join(
            _line(f"self.{module} = _{module}.{prefix}{names[model].cls}(client)", _METHOD_INDENT)
            for module, model in models
        )
    return template("package").substitute(values)


def model_module(contract: ModelContract, names: ModelNames, messages: MessageSet, package: str) -> str:
    """The module of a model."""
    aliases: list[str] = []
    imports: dict[str, dict[str, str]] = {}
    for role, message in (("Request", contract.request), ("Response", contract.response)):
        place, inner = messages.place_of(message)
        module = f"{package}.{messages.folder}.{place}"
        top, _, rest = inner.partition(".")
        if any(map(iskeyword, rest.split("."))):
            raise ConfigurationError(f"there can be no class for {contract.model}: Python cannot name its {message}")
        imported = names.imported(top)
        if any(module != other and imported in found.values() for other, found in imports.items()):
            imported = f"{role}{top}"  # request and response have one short name, and are declared in two files
        imports.setdefault(module, {})[top] = imported
        aliases.append(_line(f"{role}: TypeAlias = {imported}{'.' if rest else ''}{rest}", 0))
    about = list(_about(contract))
    return template("stream" if contract.streaming else "unary").substitute(
        {
            "model": contract.model,
            "fingerprint": contract.fingerprint,
            "name": names.cls,
            "package": package,
            "module": names.module,
            "imports": "\n".join(_import(module, imports[module]) for module in sorted(imports)),
            "aliases": "\n".join(aliases),
            "class_about": _indented(_paragraphs(about, _CLASS_INDENT), _CLASS_INDENT),
            "method_about": _indented(_paragraphs(about[:2], _METHOD_INDENT), _METHOD_INDENT),
            "timeout": "" if contract.limits.max_timeout is None else f", at most {contract.limits.max_timeout:g}",
        }
    )


def template(name: str) -> FileTemplate:
    """A template beside this module."""
    return FileTemplate((files("hub.cli.generate") / "template" / f"{name}.py.tmpl").read_text(encoding="utf-8"))


def _import(module: str, names: Mapping[str, str]) -> str:
    own = {name: f"_r_{name}" if iskeyword(name) else name for name in sorted(names)}  # as mypy-protobuf has it
    listed = "".join(f"    {own[name]} as {names[name]},\n" for name in own)
    return f"from {module} import (\n{listed})"


def _about(contract: ModelContract) -> Iterator[str]:
    """Texts on the request, the response and the limits."""
    yield _message("Request", contract.request, contract.comments)
    yield _message("Each chunk" if contract.streaming else "Response", contract.response, contract.comments)
    limits = contract.limits
    deadline = "has no deadline"
    if limits.default_timeout is not None:
        deadline = f"expires {limits.default_timeout:g} s after its submit"
    elif limits.max_timeout is not None:
        deadline = f"expires {limits.max_timeout:g} s after its submit"
    most = "" if limits.max_timeout is None else f", which is {limits.max_timeout:g} s at most"
    yield f"A task {deadline}, unless it has a `timeout`{most}."
    work = f"{limits.concurrency} {'task' if limits.concurrency == 1 else 'tasks'}"
    if limits.max_batch_size > 1:
        batches = "batch" if limits.concurrency == 1 else "batches"
        work = f"{limits.concurrency} {batches} of up to {limits.max_batch_size} tasks"
    yield f"One instance works on {work} at a time."


def _message(role: str, message: str, comments: Mapping[str, str]) -> str:
    comment = "\n".join(printable_lines(comments.get(message, ""))).strip()
    return f"{role}, `{message}`:\n{comment}" if comment else f"{role}: `{message}`."


def _title(contract: ModelContract) -> str:
    return (
        f"{contract.model}, `{contract.request}` to {'chunks of ' if contract.streaming else ''}`{contract.response}`"
    )


def _paragraphs(texts: Iterable[str], indent: int) -> list[str]:
    """Lines, with an empty one between two texts; a long line is wrapped, others stay as they are."""
    lines: list[str] = []
    for text in texts:
        if lines:
            lines.append("")
        for line in text.split("\n"):
            long = len(line) > WIDTH - indent
            lines.extend(wrap(line, WIDTH - indent, break_long_words=False, break_on_hyphens=False) if long else [line])
    return lines


def _indented(lines: Iterable[str], indent: int) -> str:
    """The lines for a place in a docstring that is indented already."""
    safe = [line.replace("\\", "\\\\").replace('"""', "'''") for line in lines]
    return "\n".join(f"{' ' * indent}{line}" if line and number else line for number, line in enumerate(safe))


def _line(text: str, indent: int) -> str:
    """A statement; ruff would break one that is too long in a way that depends on its parts."""
    line = f"{' ' * indent}{text}"
    return line if len(line) <= WIDTH else f"{line}  # fmt: skip"
