"""Follows docs/tutorial.md: its blocks in order, in two shells, an editor and a browser."""

from __future__ import annotations

import os
import pty
import queue
import re
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from playwright.sync_api import Page, expect

TIMEOUT: Final = 60.0
"""Seconds for one command, and for the output that is waited for."""

SECOND: Final = "second terminal"
INTERRUPT: Final = "second terminal, after Ctrl-C"
PAGE: Final = "in the browser"

_BLOCK: Final = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$'
    r"|^(?P<prose>[^\n]+)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, with the prose between it and the one before."""

    language: str
    title: str | None
    text: str
    before: str


def blocks(page: str) -> Iterator[Block]:
    prose: list[str] = []
    for found in _BLOCK.finditer(page):
        if found["prose"] is not None:
            prose.append(found["prose"])
        else:
            yield Block(found["language"], found["title"], found["text"], "\n".join(prose))
            prose.clear()


_ID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def pattern(shown: str) -> str:
    """A regular expression for output as the page shows it: `...` is anything in a line, alone in a line any lines.

    An id stands for any id, the first one for the group `id`.
    """
    lines = [
        r"(?:[^\n]*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.rstrip().split("..."))) + r"[ \t]*\n"
        for line in shown.splitlines()
    ]
    text = "".join(lines)
    for found in dict.fromkeys(_ID.findall(shown)):
        escaped = re.escape(found)
        text = text.replace(escaped, f"(?P<id>{_ID.pattern})", 1).replace(escaped, "(?P=id)")
    return text


class Differs(AssertionError):
    """What a command printed is not what the page shows."""


@final
class Terminal:
    """A shell that gets the commands of the page, and its output.

    Args:
        folder: Where it starts.
        environment: Its variables.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        screen, output = pty.openpty()  # commands print for a person on a terminal
        tty.setraw(output)
        self._shell = subprocess.Popen(
            ["/bin/bash", "--norc"],
            cwd=folder,
            env=environment | {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "120"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        os.close(output)
        self._screen = screen
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.printed = ""
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with os.fdopen(self._screen, encoding="utf-8", errors="replace", newline="\n") as screen:
            try:
                for line in screen:
                    self._lines.put(line)
            except OSError:  # the last process on the terminal has ended
                pass
        self._lines.put(None)

    def send(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text)
        self._shell.stdin.flush()

    def run(self, commands: str) -> str:
        """Runs commands to their end; returns what they print.

        Raises:
            Differs: One of them has failed.
        """
        printed = ""
        for command in commands.splitlines():
            self.send(f'{command}\necho "[done $?]"\n')
            output = self.until(r"\[done \d+\]\n")
            text, _, ended = output.rpartition("[done ")
            code = ended.rstrip("]\n")
            if code != "0":
                raise Differs(f"`{command}` ended with {code}:\n{text}")
            printed += text if text.endswith("\n") or not text else f"{text}\n"
        return printed

    def until(self, expression: str) -> str:
        """Waits for output that an expression matches; returns all output since the last time, up to its end."""
        deadline = time.monotonic() + TIMEOUT
        while (found := re.search(expression, self.printed[self._seen :])) is None:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise Differs(f"not printed: {expression}\nbut:\n{self.printed[self._seen :]}")
            self.printed += line
        output = self.printed[self._seen : self._seen + found.end()]
        self._seen += found.end()
        return output

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT for all processes of the terminal."""
        os.killpg(self._shell.pid, signal.SIGINT)

    def close(self) -> None:
        if self._shell.poll() is None:
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._reader.join(TIMEOUT)


@final
class Reader:
    """Does what the page says.

    Args:
        terminal: Where its commands run.
        second: The second terminal.
        page: A tab of a browser.

    Attributes:
        done: Blocks that it has followed.
    """

    def __init__(self, terminal: Terminal, second: Terminal, page: Page) -> None:
        self._terminal = terminal
        self._second = second
        self._page = page
        self._printed = ""
        self._ids: dict[str, str] = {}
        self.done = 0

    def follow(self, page: str) -> None:
        for block in blocks(page):
            self._do(block)
            self.done += 1

    def _do(self, block: Block) -> None:
        if block.title is None or block.title in (SECOND, INTERRUPT):
            self._type(block)
        elif block.title == PAGE:
            self._browse(block)
        else:
            self._write(self._folder() / block.title, block)

    def _type(self, block: Block) -> None:
        match block.language, block.title:
            case "sh", None:
                self._printed = self._terminal.run(self._with_ids(block.text))
            case "text", None:
                found = re.fullmatch(pattern(block.text), self._printed)
                if found is None:
                    raise Differs(f"the page shows\n{block.text}\nbut it is\n{self._printed}")
                self._ids |= zip(_ID.findall(block.text)[:1], filter(None, [found.groupdict().get("id")]), strict=True)
            case "sh", _:
                self._second.send(f"cd {self._folder()}\n{block.text}")
            case "text", title:
                if title == INTERRUPT:
                    self._second.interrupt()
                self._second.until(pattern(block.text))
            case language, _:
                raise Differs(f"a block of {language} that is neither a command nor its output")

    def _with_ids(self, text: str) -> str:
        for shown, real in self._ids.items():
            text = text.replace(shown, real)
        return text

    def _folder(self) -> Path:
        return Path(self._terminal.run("pwd").strip())

    @staticmethod
    def _write(path: Path, block: Block) -> None:
        text = block.text
        if block.language == "diff":
            before, after = (
                "".join(f"{line[1:]}\n" for line in text.splitlines() if line[:1] in ("", " ", side)) for side in "-+"
            )
            old = path.read_text()
            assert old.count(before) == 1, f"{path.name} does not have\n{before}"
            text = old.replace(before, after)
        assert path.parent.is_dir(), f"{path}: there is no such folder"
        path.write_text(text)

    def _browse(self, block: Block) -> None:
        """Opens the address that the prose names, opens its first bold words, types its code, and presses the last bold word."""
        prose = " ".join(block.before.split())
        (address,) = re.findall(r"http://\S+/docs", prose)
        operation, button = re.findall(r"\*\*(.+?)\*\*", prose)
        (request,) = re.findall(r"`(\{.+?\})`", prose)
        self._page.goto(address)
        method, path = operation.split()
        row = self._page.locator(".opblock").filter(
            has=self._page.locator(f'.opblock-summary-path[data-path="{path}"]'),
            has_text=method,
        )
        row.locator(".opblock-summary-control").click(timeout=TIMEOUT * 1000)
        row.locator(".body-param__text").fill(request, timeout=TIMEOUT * 1000)
        row.get_by_role("button", name=button, exact=True).click()
        shown = row.locator(".live-responses-table .response-col_description .microlight").first
        expect(shown).to_have_text(re.compile(pattern(block.text).removesuffix("\\n")), timeout=TIMEOUT * 1000)
