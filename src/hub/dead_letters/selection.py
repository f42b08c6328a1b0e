"""Which dead letters an operator means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from hub.dead_letters.letter import DeadLetter
from hub.types import parse_task_id


@final
@dataclass(frozen=True, slots=True)
class Selection:
    """The letters that were meant, and the ids that no letter has."""

    letters: Sequence[DeadLetter]
    missing: Sequence[str]


def select(letters: Iterable[DeadLetter], ids: Sequence[str], *, code: str = "") -> Selection:
    """Picks letters by the ids of their tasks or messages, or all of them if no id is given.

    Args:
        letters: To pick from.
        ids: Of tasks (in any spelling of a UUID) or of messages that are no tasks.
        code: Pick none that died of anything else, unless empty.
    """
    wanted = {parse_task_id(each) or each: None for each in ids}
    alike = [letter for letter in letters if code in ("", letter.code)]
    if not wanted:
        return Selection(alike, ())
    found = [letter for letter in alike if letter.id in wanted]
    there = {letter.id for letter in found}
    return Selection(found, [each for each in wanted if each not in there])
