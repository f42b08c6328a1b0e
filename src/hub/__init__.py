"""hub: a hub of models."""

from hub.model import (
    CurrentTask as CurrentTask,
    Model as Model,
    Retry as Retry,
    current_task as current_task,
)
