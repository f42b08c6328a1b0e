"""The registry's HTTP surface."""
