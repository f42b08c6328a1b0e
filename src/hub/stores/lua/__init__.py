"""The state transitions of a task record, as scripts that Redis runs atomically.

Two keys per task in one hash slot: `hub:{<id>}:record`, a hash that lives as long as the record, and
`hub:{<id>}:tombstone`, a word that outlives it: `queued` for a task that has not ended, then its last state, or
`withdrawn`. A script takes the keys of any number of tasks, pairwise, and answers one element
for each, in order; an element that is a string with a space in it says what is wrong with the key.

Numbers are text: times are Unix seconds, `ttl` is seconds, what goes into `PEXPIRE` comes as milliseconds. Revisions
count from 1. `channels` are names with a space between them.
"""
