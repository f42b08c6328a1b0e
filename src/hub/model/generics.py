"""What the type arguments of a model class say about its messages."""

from __future__ import annotations

from typing import Any, TypeVar, get_args, get_origin


def type_arguments(cls: type, origin: type) -> tuple[Any, ...] | None:
    """The arguments that `cls` gives to its generic ancestor `origin`, through any number of classes in between.

    An argument that is still open is a `TypeVar`. `None`: no ancestor of `cls` gives `origin` any arguments.
    """
    # 3.11 has no types.get_original_bases; a class without subscripted bases has no __orig_bases__ of its own.
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        ancestor = get_origin(base) or base
        if ancestor is origin:
            return get_args(base) or None
        if isinstance(ancestor, type) and issubclass(ancestor, origin):
            inherited = type_arguments(ancestor, origin)
            if inherited is not None:
                parameters: tuple[TypeVar, ...] = getattr(ancestor, "__parameters__", ())
                given = dict(zip(parameters, get_args(base), strict=False))
                return tuple(given.get(argument, argument) for argument in inherited)
    return None
