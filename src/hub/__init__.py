"""hub: a hub of models."""
