"""The changes of the directory, as scripts that Redis runs atomically.

All keys are hashes in one hash slot: `hub:{directory}:instances` (instance id to entry), `hub:{directory}:names` (model
to the fingerprint that holds its name and the number of instances that do so), `hub:{directory}:contracts` (model and
fingerprint to contract, kept for good).
"""
