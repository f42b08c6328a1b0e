"""The state transitions of a task record, as scripts that Redis runs atomically.

Two keys per task in one hash slot, and a third one, `hub:{<id>}:children`, for the set of the tasks that its model has
made: `hub:{<id>}:record`, a hash that lives as long as the record, and `hub:{<id>}:tombstone`, a value that outlives
it: `queued` for a task that has not ended, then its last state, or `withdrawn`. A script takes the keys of any number
of tasks, pairwise, and answers one element for each, in order; an element that is a string with a space in it is an
error text.

A task that streams has a third key in that slot, which scripts derive from the first: `hub:{<id>}:chunks`, a stream
whose entries have the ids `<attempt>-<number>` and one field without a name. It lives as long as the record. The fields
`channels` and `readers` of a record name the channels that are notified of its changes, and those of them that get
small chunks with that (`append.lua`).

`hub:{recent}:<state>` and `hub:{recent}:<state>:<model>`, in a slot of their own, are lists of recent tasks
(`list.lua`).

Numbers are text: times are Unix seconds, `ttl` is seconds, lifetimes come as milliseconds. Revisions count from 1.
`channels` (notified of every change), `callers` (notified when the task ends, because their process has made it and
waits) and `runners` (notified when it ends, because they have started it) are names with a space between them. An
outcome of up to 1,024 bytes is in pieces of 64 bytes, in the fields `outcome`, `2`, `3` and so on; see `common.lua`.
Seven values describe a task, so that its record can be written: model, fingerprint, created_at, deadline, ttl, the
channel of its client, digest.

Fields of a record that a plain task does without: `digest`, `released` (runs that do not count against the attempts),
`retries`, `progress`, `chunks` (`<attempt>-<number>` of the last chunk that is stored), `parent`, `children` (their
number); and those that mean something in state `queued` only, so that they need not be cleared later: `pending` (since
when, in milliseconds by the server's clock), `retry_at` and `reset`. `started_at` is there from the start of a run
until the task is queued again.
"""
