"""The changes of the directory, as scripts that Redis runs atomically.

All keys are in one hash slot and begin with `hub:{directory}:`.

| key | type | what |
|---|---|---|
| `instances` | hash | instance id to entry |
| `names` | hash | model to the fingerprints that hold its name, each with the number of instances that do so |
| `contracts` | hash | model and fingerprint to contract |
| `registries` | sorted set | registry id to the time until which it counts as alive, in ms |
| `leases` | hash | instance id to the token of its newest lease and the registry that has it |
| `health` | hash | instance id to what that registry knows about it |
| `changes` | sorted set | instance id to the revision of its last change; those who left stay in it for long |
| `revision` | string | the last revision; tokens are revisions |
| `history` | list | events, newest first |
| `unused` | sorted set | model and fingerprint to the time at which an instance was last known to have it, in ms |
| `weight` | string | bytes of all `contracts` |
"""
