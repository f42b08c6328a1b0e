"""Models that behave in ways that public bug reports describe, beside a good one that must not notice."""
