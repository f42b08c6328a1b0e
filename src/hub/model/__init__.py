"""The author's side: a model, and (in `hub.model.instance.instance`) the process that runs one.

Only what authors import is here, so that `import hub` stays light.
"""

from hub.model.current import (
    CurrentTask as CurrentTask,
    current_task as current_task,
    current_tasks as current_tasks,
)
from hub.model.model import Model as Model
from hub.model.retry import Retry as Retry
