"""Commands in shell blocks and transcripts, and `hub ...` against the parser of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from cyclopts import App, CycloptsError

from hub.cli.app import app
from tests.docs.blocks import Block

_OPERATORS: Final = set("();<>|&")
_SPAN: Final = re.compile(r"(?<!`)`(?:\.venv/bin/)?(hub [^`\n]+)`(?!`)")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_FENCED: Final = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def script_of(block: Block) -> str:
    """The text of a shell block, or the commands of a transcript."""
    if block.is_shell:
        return block.text
    return "\n".join(line[2:] for line in block.text.splitlines() if line.startswith("$ "))


def commands(script: str) -> Iterator[Sequence[str]]:
    """The simple commands of a script: program and arguments, without assignments in front and redirections."""
    for line in _lines(script):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        skip = False
        for token in lexer:
            if set(token) <= _OPERATORS:
                skip = token.startswith((">", "<"))
                if not skip:
                    yield from _command(words)
                    words = []
            elif skip:
                skip = False
            else:
                words.append(token)
        yield from _command(words)


def _command(words: Sequence[str]) -> Iterator[Sequence[str]]:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in {"exec", "!"}):
        words = words[1:]
    if words:
        yield words


def _lines(script: str) -> Iterator[str]:
    """Lines, with those that go on joined: after a backslash, and within quotes."""
    pending = ""
    for line in script.replace("\\\n", " ").splitlines():
        pending = f"{pending}\n{line}" if pending else line
        try:
            shlex.split(pending, comments=True)
        except ValueError:
            continue
        yield pending
        pending = ""
    if pending:
        raise ValueError(f"a quotation has no end: {pending}")


def refusal(arguments: Sequence[str]) -> str:
    """What the command line says against `hub ...`; empty if it accepts it. Nothing is run."""
    kept = app.config
    app.config = ()  # neither this environment nor a file plays a part
    try:
        app.parse_args(list(arguments), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        return str(error).strip() or type(error).__name__
    finally:
        app.config = kept
    return ""


def spans(page: str) -> Iterator[Sequence[str]]:
    """The arguments of each `hub ...` within a sentence of a page."""
    for span in _SPAN.findall(_FENCED.sub("", page)):
        try:
            yield shlex.split(span)[1:]
        except ValueError as error:
            raise ValueError(f"{span}: {error}") from error


def unknown_options(arguments: Sequence[str]) -> Sequence[str]:
    """Options that the command does not have. The other arguments may be anything: names, placeholders, none at all."""
    path, apps, rest = app.parse_commands([word for word in arguments if word != "..."])
    if path and path[-1] in {"--help", "--version"}:
        return []
    names = {"--help", "-h", "--version", *_options(apps[-1])}
    given = [word.strip("[]").partition("=")[0] for word in rest if word.startswith("-") and word.strip("-")]
    return [name for name in given if name not in names]


def _options(command: App) -> Iterator[str]:
    if command is app or command.default_command is None:
        return
    for argument in command.assemble_argument_collection():
        yield from argument.names
