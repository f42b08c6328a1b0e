"""`hub new`: a project for a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hub.errors import ConfigurationError

ProjectName = Annotated[
    str, Parameter(env_var=(), help="Name of the project: lower-case letters, digits, '_' or '-', such as sentiment.")
]
StreamWanted = Annotated[bool, Parameter(env_var=(), negative=(), help="The model yields its response piece by piece.")]
BatchWanted = Annotated[
    bool, Parameter(env_var=(), negative=(), help="The model gets the requests of many tasks at once.")
]
ProjectPath = Annotated[
    Path | None, Parameter(env_var=(), help="The folder of the project, empty or new; by default NAME, here.")
]


def new(
    name: ProjectName, /, *, stream: StreamWanted = False, batch: BatchWanted = False, path: ProjectPath = None
) -> int:
    """Make a working project for a model of your own: .proto, model, test, settings, Dockerfile, CI."""
    from hub.cli.new.project import create  # noqa: PLC0415 - each command loads only what it runs

    if stream and batch:
        raise ConfigurationError("a model either streams or takes batches: use --stream or --batch")
    return create(name, "stream" if stream else "batch" if batch else "unary", path)
