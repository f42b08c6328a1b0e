"""Two contracts side by side: everything that differs, and which of it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.contract.compatibility.differences import differences
from hub.contract.compatibility.rules import breaking_changes
from hub.contract.contract import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that differs.

    Attributes:
        path: What it is about; see `Difference` and `Violation`.
        rule: Buf's rule that it breaks; empty if it breaks none.
        breaks: Whether those who know the earlier contract only are broken by it.
        message: One sentence for people, with both sides.
    """

    path: str
    rule: str
    breaks: bool
    message: str


def compared(known: Contract, new: Contract) -> Sequence[Change]:
    """What `new` does otherwise than `known`: what breaks it first, then the rest.

    Raises:
        InvalidContract: One of them did not come from `contract_of` or `Contract.decode`, and its files do not fit.
    """
    broken = breaking_changes(known, new)
    told = {violation.path for violation in broken}
    # What another message has for fields is no news.
    replaced = tuple(
        f"{before}."
        for before, after in ((known.request, new.request), (known.response, new.response))
        if before != after
    )
    found = [Change(path=each.path, rule=each.rule, breaks=True, message=each.message) for each in broken]
    found.extend(
        Change(path=each.path, rule="", breaks=False, message=each.message)
        for each in differences(known, new)
        if each.path not in told and not each.path.startswith(replaced)
    )
    return found
