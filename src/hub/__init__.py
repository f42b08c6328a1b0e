"""hub: a hub of models."""

from hub.model import CurrentTask as CurrentTask, Model as Model, current_task as current_task
