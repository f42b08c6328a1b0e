"""`hub proto`: protoc and its plugins, from installed packages, and buf."""
