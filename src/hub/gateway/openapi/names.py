"""Names in the API description that stay distinct when code generators change their case and punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, final

import msgspec

_REMEMBERED: Final = 1 << 15
"""Names whose forms are kept: all of them are needed after each change of the models."""

_PREFIX: Final = "#/components/schemas/"
_REFERENCE: Final = re.compile(rb'"\$ref":"#/components/schemas/([^"]+)"')

ComponentSchemas = Mapping[str, msgspec.Raw]


@lru_cache(_REMEMBERED)
def folded(name: str) -> str:
    """The name as code generators may write it: they drop punctuation, and some file systems ignore case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def operation_suffixes(models: Iterable[str]) -> dict[str, str]:
    """The part of each model's operation ids that follows the verb: its name in upper camel case.

    Of names that differ only in case or punctuation, the first in order is used as it is; the others add a part of the
    hash of their name.
    """
    taken = set[str]()
    suffixes: dict[str, str] = {}
    for name in sorted(models):
        suffix = _free(_camel_case(name), name, taken)
        taken.add(folded(suffix))
        suffixes[name] = suffix
    return suffixes


@lru_cache(_REMEMBERED)
def _camel_case(name: str) -> str:
    return "".join(part[0].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name) if part)


@final
class SharedSchemas:
    """The component schemas of several models; models with the same schema of a name share it.

    Args:
        ours: Components that belong to no model.

    Attributes:
        schemas: All components by their names in the document: `ours`, then those of the models.
    """

    def __init__(self, ours: ComponentSchemas) -> None:
        self.schemas: Final = dict(ours)
        self._taken = set(map(folded, ours))
        self._originals: dict[str, msgspec.Raw] = {}
        self._names: dict[str, str] = {}

    def add_as_they_are(self, own: ComponentSchemas) -> Sequence[str] | None:
        """Adds the components of a model if none of them has to be renamed, as is usual: much faster than `add`.

        Returns:
            The names of those that were not there; `None`, and adds nothing, if one has to be renamed.
        """
        originals, names = self._originals, self._names
        new: list[str] = []
        for name, schema in own.items():
            if name not in originals:
                new.append(name)
            elif names[name] != name or originals[name] != schema:
                return None
        keys = [*map(folded, new)]
        if not self._taken.isdisjoint(keys) or len({*keys}) < len(keys):
            return None
        self._taken.update(keys)
        for name in new:
            originals[name] = self.schemas[name] = own[name]
            names[name] = name
        return new

    def add(self, model: str, own: ComponentSchemas) -> Mapping[str, str]:
        """Adds the components that a model refers to.

        A component that differs from an added one of the same name, and each component that refers to such a one, gets
        the name of the model as a prefix. A component whose name differs from another name only in case or punctuation
        gets a part of the hash of its name as a suffix.

        Returns:
            The renamed components of `own`, with their new names.
        """
        other = {name for name, schema in own.items() if self._originals.get(name, schema) != schema}
        if other:
            other |= _reaching(own, other)
        wanted = {name: f"{model}.{name}" if name in other else name for name in own}
        new = [name for name in own if wanted[name] not in self._names]
        for name in new:
            found = self._names[wanted[name]] = _free(wanted[name], wanted[name], self._taken)
            self._taken.add(folded(found))
            self._originals[wanted[name]] = own[name]
        changed = {name: self._names[wanted[name]] for name in own if self._names[wanted[name]] != name}
        for name in new:
            schema = _titled(renamed(own[name], changed), name, changed) if changed else own[name]
            self.schemas[self._names[wanted[name]]] = schema
        return changed


def renamed(document: msgspec.Raw, names: Mapping[str, str]) -> msgspec.Raw:
    """`document` with its references to components renamed by `names`."""

    def change(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        return b'"$ref":' + msgspec.json.encode(_PREFIX + names.get(name, name))

    return msgspec.Raw(_REFERENCE.sub(change, bytes(document))) if names else document


def _titled(schema: msgspec.Raw, name: str, names: Mapping[str, str]) -> msgspec.Raw:
    """`schema` with its new name as its title, if its title was its name."""
    title = b'{"title":' + msgspec.json.encode(name)
    if name in names and bytes(schema).startswith(title):
        return msgspec.Raw(b'{"title":' + msgspec.json.encode(names[name]) + bytes(schema)[len(title) :])
    return schema


def _free(wanted: str, seed: str, taken: set[str]) -> str:
    if folded(wanted) not in taken:
        return wanted
    # The hash depends on the name only, not on the other models that are alive.
    return wanted + sha256(seed.encode()).hexdigest()[:6].upper()


def _reaching(own: ComponentSchemas, targets: set[str]) -> set[str]:
    """The components of `own` that refer to one of `targets`, directly or through others."""
    users: dict[str, list[str]] = {}
    for name, schema in own.items():
        for target in _REFERENCE.findall(bytes(schema)):
            users.setdefault(target.decode(), []).append(name)
    found, pending = set[str](), [*targets]
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in found:
                found.add(user)
                pending.append(user)
    return found
