"""hub: serve models over HTTP, with a queue, stored results, and one live page of API documentation.

A model is a class with one method, over two messages that protoc generated:

```python
import hub
from my_package.model_a_pb2 import ModelARequest, ModelAResponse


class ModelA(hub.Model[ModelARequest, ModelAResponse]):
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=f"Processed message: {request.messages}")
```

`hub up my_package.model_a:ModelA` runs it, together with the registry and the gateway, in one process; `hub --help`
lists the other commands. Clients call a model over HTTP; `hub.Client` does it for Python.

`Model` documents what a model may define: its name, timeouts, `setup`, `teardown`, `health`. `Retry` runs a task again
after certain errors. `current_task()` returns the `CurrentTask` that a model is processing: its id, its deadline, and
whether it was cancelled; its `call` and `submit` send requests to other models. Every error that hub raises is a
`HubError`, with a stable `code` and the repair in its text. `TaskState` has the states of a task.

`Client` and `SyncClient` call models over the API of a gateway.

A model may override `process_batch` instead of `process_request`: it gets the requests of many tasks in one call, and
`current_tasks()` has those tasks.

This package is light to import: each name loads its module at its first use, the models protobuf, the clients their
HTTP library. No server, driver or command line is loaded.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hub.client.client import Client as Client
    from hub.client.sync import SyncClient as SyncClient
    from hub.errors import (
        ConfigurationError as ConfigurationError,
        HubError as HubError,
        ModelUnavailable as ModelUnavailable,
        QueueFull as QueueFull,
        UnknownModel as UnknownModel,
    )
    from hub.model import (
        CurrentTask as CurrentTask,
        Model as Model,
        Retry as Retry,
        current_task as current_task,
        current_tasks as current_tasks,
    )
    from hub.model.calls import ChildTask as ChildTask
    from hub.model.errors import (
        CallCycle as CallCycle,
        CallFailed as CallFailed,
        CallsUnavailable as CallsUnavailable,
        InvalidModel as InvalidModel,
        ModelExit as ModelExit,
        NotInTask as NotInTask,
        ProcessDied as ProcessDied,
        RunOver as RunOver,
        TooManyCalls as TooManyCalls,
        UnexpectedCancellation as UnexpectedCancellation,
        UnreadableResponse as UnreadableResponse,
        WrongBatch as WrongBatch,
        WrongResponse as WrongResponse,
    )
    from hub.types import TaskState as TaskState

__version__: Final = "0.1.0"

_PLACES: Final = {
    "hub.client.client": "Client",
    "hub.client.sync": "SyncClient",
    "hub.errors": "ConfigurationError HubError ModelUnavailable QueueFull UnknownModel",
    "hub.model": "CurrentTask Model Retry current_task current_tasks",
    "hub.model.calls": "ChildTask",
    "hub.model.errors": (
        "CallCycle CallFailed CallsUnavailable InvalidModel ModelExit NotInTask ProcessDied RunOver TooManyCalls "
        "UnexpectedCancellation UnreadableResponse WrongBatch WrongResponse"
    ),
    "hub.types": "TaskState",
}
"""Modules, each with the public names for which it is imported at their first use."""

_LAZY: Final = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'hub' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
