"""The registry: which instances live, which models they make up, and what each model takes and gives back."""
