"""Reading YAML definitions so that every mistake names its file, its key and the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edgebench.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)


class _UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML keeps the last of two equal keys in silence; a definition file should not."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"key '{key}' appears twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a map.

    Raises:
        ConfigError: the file is missing, is not YAML, repeats a key or holds something else than a map.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_UniqueKeyLoader)
    except FileNotFoundError:
        hint = nearest(path.stem, [p.stem for p in path.parent.glob("*.yaml")]) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such file.{hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, but a map of keys and values is needed.")
    return content


def validate(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """Turn `content` into `model`.

    Args:
        model: The pydantic model.
        content: What was read.
        where: The file (and the part of it) for messages.

    Raises:
        ConfigError: naming `where`, the key, the value and the nearest known key.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(problem(model, each, where) for each in error.errors())) from None


def problem(model: type[BaseModel], error: Any, where: str) -> str:
    """One validation error as one sentence for people."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location) or "(top level)"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}'.{nearest(location[-1], _fields_at(model, location[:-1]))}"
    if not location:
        return f"{where}: {error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "missing":
        return f"{where}: key '{key}' is missing."
    return f"{where}: key '{key}' is {error['input']!r}: {error['msg']}."


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the model that stands at `location` below `model`."""
    current: Any = model
    for part in location:
        field = current.model_fields.get(part) if hasattr(current, "model_fields") else None
        if field is None:
            continue  # an index into a list or a key of a map: the model below it was already found
        current = _model_in(field.annotation) or current
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, getattr(annotation, "__args__", ())) if m), None)
