"""The command line: `hub` itself. The code of a command is imported when it runs, see `hub.cli.overview`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError

from hub.cli.overview import COMMANDS, EPILOGUE, SUMMARY, root_help
from hub.errors import HubError
from hub_serving import DISTRIBUTION

HELP: Final[tuple[list[str], ...]] = (["--help"], ["-h"], [])
"""Command lines that get the list of commands."""

app = App(name="hub", help=SUMMARY, help_epilogue=EPILOGUE, version=lambda: version(DISTRIBUTION))
for entry in COMMANDS:
    app.command(entry.place, name=entry.name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `hub ...` and exits; see `hub.cli.overview.EXIT_CODES`."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if tokens in HELP:
        sys.stdout.write(root_help())
        sys.exit(0)
    if tokens == ["--version"]:
        sys.stdout.write(f"{version(DISTRIBUTION)}\n")
        sys.exit(0)
    sys.exit(_run(tokens))


def _run(tokens: Sequence[str]) -> int:
    from hub.cli.command import fail, usage_error  # noqa: PLC0415 - needs the settings, as all that follows
    from hub.cli.config import check_names, layers  # noqa: PLC0415
    from hub.observability.redaction import redacted, redacted_url  # noqa: PLC0415

    def redact(text: str) -> str:
        for part in (part for token in tokens for part in (token, token.partition("=")[2])):
            if "@" in part or "://" in part:
                text = text.replace(part, redacted_url(part)).replace(repr(part), repr(redacted_url(part)))
        return redacted(text)

    try:
        check_names()
        app.config = tuple(layers())
        code: int | None = app(tokens, result_action="return_value", exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return fail(usage_error(error), 2, redact=redact)
    except HubError as error:
        return fail(str(error), error.exit_code, redact=redact)
    return code or 0
