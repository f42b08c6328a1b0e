"""Gateway, registry and instance against their own descriptions, by schemathesis with all checks."""
