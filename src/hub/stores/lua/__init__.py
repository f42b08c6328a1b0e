"""The state transitions of a task record, as scripts that Redis runs atomically.

Two keys per task in one hash slot: `hub:{<id>}:record`, a hash that lives as long as the record, and
`hub:{<id>}:tombstone`, a word that outlives it: the last state of the task, or `withdrawn`. A script takes the keys of
any number of tasks, pairwise, and answers one element for each, in order; an element that is a string with a space in
it says what is wrong with the key. Revisions count from 1; numbers are text.
"""
