"""`hub client`: the command line for code that calls models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from hub.cli.client.app import RETRY_FOR, Settings
from hub.cli.command import EXIT_OK, run_command
from hub.errors import ConnectionLost
from hub.observability.redaction import redacted_url
from hub.settings.client import ClientSettings

if TYPE_CHECKING:
    from hub.client import ModelContract

client = App(
    name="client",
    help="Make code that calls the models behind a gateway. Exit codes: 0 success, 1 --check found a difference, 2 bad arguments "
    "or settings, no model, or a missing package, 3 the gateway was not reached.",
)

Url = Annotated[
    str,
    Parameter(show_env_var=False, show_default=False, help="URL of the gateway; the same as --gateway-url."),
]
Out = Annotated[Path, Parameter(show_env_var=False, help="The folder in which the package is written.")]
Package = Annotated[str, Parameter(show_env_var=False, help="Name of the package.")]
Check = Annotated[
    bool,
    Parameter(
        name="--check",
        show_env_var=False,
        negative="",
        show_default=False,
        help="Write nothing: print which files would change. Exit code 1 if there are any.",
    ),
]


@client.command
def generate(
    *,
    url: Url = "",
    out: Out = Path(),
    package: Package = "hub_models",
    check: Check = False,
    settings: Settings = None,
) -> int:
    """Write a typed Python package for the models that are live: their messages with stubs, and a class for each model.

    The package replaces one that this command has written before. It needs hub at run time, and the packages of
    hub-serving[proto] to be written.
    """
    from hub.cli.generate.commands import live_contracts, update_package  # noqa: PLC0415 - only if this command runs
    from hub.cli.generate.naming import checked_package  # noqa: PLC0415
    from hub.client import UnexpectedReply  # noqa: PLC0415
    from hub.client.client import Client  # noqa: PLC0415

    checked_package(package)
    chosen = settings or ClientSettings()
    if url:
        chosen = replace(chosen, gateway_url=url)
    contracts: list[ModelContract] = []

    async def fetch() -> int:
        async with Client(chosen.gateway_url, api_key=chosen.api_key, retry_for=RETRY_FOR) as opened:
            try:
                contracts.extend(await live_contracts(opened))
            except UnexpectedReply as error:
                given = redacted_url(chosen.gateway_url)
                error.add_note(f"{given} is no gateway of hub: name one by --url (that of `hub up` has port 8000)")
                raise
            except ConnectionLost as error:
                if url:  # not a setting, whose source the frame of commands would name
                    error.add_note(f"--url {redacted_url(url)}: check the URL, and that a gateway runs there")
                raise
        return EXIT_OK

    code = run_command(fetch, chosen, interrupted="interrupted")
    return code or update_package(contracts, out, package, check=check)
