"""The client of a gateway: `Client` for code with an event loop, `SyncClient` for code without one.

Both are exported by `hub`. The errors that they raise, and the types of what they return, are here.
"""

from hub.client.batch import BatchAnswer as BatchAnswer, BatchSubmission as BatchSubmission
from hub.client.client import Client as Client
from hub.client.errors import (
    AccessDenied as AccessDenied,
    BadRequest as BadRequest,
    Conflict as Conflict,
    DeadlineMissed as DeadlineMissed,
    GatewayError as GatewayError,
    GatewayFault as GatewayFault,
    GatewayUnreachable as GatewayUnreachable,
    InvalidRequest as InvalidRequest,
    ModelFailed as ModelFailed,
    NotFound as NotFound,
    Overloaded as Overloaded,
    StreamRestarted as StreamRestarted,
    TaskUnsuccessful as TaskUnsuccessful,
    TaskWasCancelled as TaskWasCancelled,
    Unavailable as Unavailable,
    UnexpectedReply as UnexpectedReply,
)
from hub.client.messages import JsonRequest as JsonRequest
from hub.client.snapshot import (
    ModelContract as ModelContract,
    ModelEntry as ModelEntry,
    TaskProgress as TaskProgress,
    TaskSnapshot as TaskSnapshot,
)
from hub.client.streams import MessageStream as MessageStream, TaskChanges as TaskChanges
from hub.client.sync import (
    SyncBatchAnswer as SyncBatchAnswer,
    SyncClient as SyncClient,
    SyncIterator as SyncIterator,
    SyncMessageStream as SyncMessageStream,
    SyncTaskHandle as SyncTaskHandle,
)
from hub.client.task import TaskHandle as TaskHandle
