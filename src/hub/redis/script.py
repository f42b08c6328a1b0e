"""Lua scripts by their digest."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib import resources
from typing import final

from hub.redis.connection import Arg, Command


@final
class Script:
    """A script that the server runs atomically.

    It is called by its SHA-1 (`EVALSHA`); a server that does not know it (restarted, failed over, `SCRIPT FLUSH`)
    answers `NOSCRIPT` without running anything, and gets the whole text with the second try (`EVAL`).
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def by_digest(self, keys: Sequence[str], args: Sequence[Arg]) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *args)

    def in_full(self, command: Command) -> Command:
        """The same call as `command`, which `by_digest` made, with the text of the script."""
        return ("EVAL", self.text, *command[2:])


def load_script(package: str, *names: str) -> Script:
    """The files `<name>.lua` of a package, one after the other, as one script."""
    folder = resources.files(package)
    return Script("\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names))
