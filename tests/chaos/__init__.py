"""Fault injection while tasks are in flight, and a check of every promise: `python -m tests.chaos`."""
