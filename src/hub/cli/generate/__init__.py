"""`hub client generate`: a typed Python package for the models behind a gateway."""
