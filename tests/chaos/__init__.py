"""Everything is broken on purpose while tasks are in flight, and then the books are checked: `python -m tests.chaos`."""
