"""Named schemas that refer to each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from hub.contract.jsonschema.scalars import Schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@final
class Components:
    """Schemas by name.

    Args:
        ref_prefix: Start of each reference; `#/components/schemas/` for OpenAPI.

    Attributes:
        schemas: The components, each with its name as its title.
    """

    def __init__(self, ref_prefix: str = "#/$defs/") -> None:
        self.schemas: Final[dict[str, Schema]] = {}
        self._ref_prefix = ref_prefix
        self._waiting: Final[deque[tuple[str, Callable[[], Schema]]]] = deque()
        self._building = False

    def reference(self, name: str, build: Callable[[], Schema]) -> Schema:
        """A reference to a component, which is built once.

        A component that is first referred to while another one is built is built after it, without recursion: messages
        may refer to themselves and nest a thousand deep.
        """
        if name not in self.schemas:
            self.schemas[name] = {}
            self._waiting.append((name, build))
            if not self._building:
                self._build()
        return {"$ref": self._ref_prefix + name}

    def _build(self) -> None:
        self._building = True
        try:
            while self._waiting:
                name, build = self._waiting.popleft()
                self.schemas[name] = {"title": name, **build()}
        finally:
            self._building = False


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """The schema of one message.

    Attributes:
        root: The schema; usually a reference to a component.
        components: The components that it refers to.
    """

    root: Schema
    components: Components

    def standalone(self) -> Schema:
        """One schema document; for components with the default `ref_prefix`."""
        return {"$schema": DIALECT, **self.root, "$defs": dict(self.components.schemas)}


def any_of(choices: Sequence[Schema]) -> Schema:
    """A schema that accepts a value if one of `choices` does."""
    return choices[0] if len(choices) == 1 else {"anyOf": [*choices]}


def hidden_from_generators(*rules: Schema) -> Schema:
    """`rules` as members of a schema that validators apply and code generators ignore."""
    return {"not": {"not": rules[0] if len(rules) == 1 else {"allOf": [*rules]}}} if rules else {}
