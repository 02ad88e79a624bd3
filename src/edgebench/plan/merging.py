"""How layers of settings become one: maps merge, lists replace, `key!` replaces a map, null removes."""

from __future__ import annotations

from typing import Any

from edgebench.errors import ConfigError

Map = dict[str, Any]


def merge(base: Map, layer: Map) -> Map:
    """Return `base` with `layer` laid over it; neither is changed, and the result shares their parts.

    A map merges into a map, any other value replaces, `key!: {...}` replaces a map instead of merging into
    it, and `key: null` removes the key, so that the model's default applies again.
    """
    merged = dict(base)
    for key, value in layer.items():
        if isinstance(key, str) and key.endswith("!"):  # other keys are numbers that stand for something
            merged[key[:-1]] = value
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def nested(dotted: Map) -> Map:
    """`{"predict.steps": 5}` as `{"predict": {"steps": 5}}`.

    Raises:
        ConfigError: a key lies below another one that holds a value.
    """
    result: Map = {}
    for key, value in dotted.items():
        *parents, last = str(key).split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"key '{key}' lies below '{parent}', which is already set to {place!r}.")
        place[last] = value
    return result


def lookup(tree: Map, dotted: str) -> Any:
    """The value at `dotted` (also where a layer wrote `key!`), or None."""
    place: Any = tree
    for part in dotted.split("."):
        if not isinstance(place, dict):
            return None
        place = place.get(part, place.get(part + "!"))
    return place


def leaves(tree: Map, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a tree of maps by its dotted key; the `!` of replaced maps is dropped."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{prefix}{str(key).removesuffix('!')}"
        if isinstance(value, dict) and value:
            found |= leaves(value, dotted + ".")
        else:
            found[dotted] = value
    return found
