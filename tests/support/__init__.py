"""Private servers that tests start, kill, freeze and restart."""
