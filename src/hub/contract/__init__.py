"""Contracts: what a model takes and gives back, and everything that is computed from it."""

from hub.contract.contract import Contract as Contract
