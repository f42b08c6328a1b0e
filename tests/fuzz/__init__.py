"""Fuzzing of everything that decodes what others have written: `make fuzz`."""
