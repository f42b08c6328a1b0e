"""Models that behave in ways that public bug reports describe, beside a good model whose calls must not slow down."""
