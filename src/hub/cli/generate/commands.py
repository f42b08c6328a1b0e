"""What `hub client generate` does: asks a gateway for contracts, and writes or checks the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hub.cli.command import EXIT_OK, EXIT_PARTIAL
from hub.cli.generate.naming import model_names
from hub.cli.generate.package import changed_files, package_files, write_package
from hub.client import ModelContract
from hub.client.client import Client
from hub.errors import ConfigurationError
from hub.observability.redaction import redacted_url


async def live_contracts(client: Client) -> Sequence[ModelContract]:
    """The contracts of all models that are alive, by name.

    Raises:
        ConfigurationError: None is.
        HubError: As `Client.models` and `Client.contract` say.
    """
    models = await client.models()
    if not models:
        raise ConfigurationError(
            f"no model is live at {redacted_url(client.url)}: start one (hub up my.models:A), then generate again"
        )
    return [await client.contract(model.name) for model in models]


def update_package(contracts: Sequence[ModelContract], out: Path, package: str, *, check: bool) -> int:
    """Writes the package and prints a line for each model, or prints the files that differ. Returns the exit code.

    Args:
        contracts: Those of the models, at least one.
        out: The folder in which the folder of the package is.
        package: Its name, checked.
        check: Whether to write nothing.

    Raises:
        ConfigurationError: The folder has other files, or a tool is missing.
    """
    folder = out / package
    files = package_files(contracts, package)
    if check:
        changed = changed_files(folder, files)
        for name in changed:
            print(f"{folder / name} differs")  # noqa: T201 - paths, which a terminal must not wrap
        return EXIT_PARTIAL if changed else EXIT_OK
    write_package(folder, files)
    for model, names in model_names(contract.model for contract in contracts).items():
        print(f"{model} -> {folder / names.module}.py: {names.cls}, Sync{names.cls}")  # noqa: T201
    return EXIT_OK
