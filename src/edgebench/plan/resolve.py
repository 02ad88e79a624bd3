"""From a recipe and the layers over it to the resolved settings of every role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgebench.errors import ConfigError, nearest
from edgebench.plan.merging import leaves, lookup, merge
from edgebench.plan.methods import settings_class
from edgebench.plan.reading import problem
from edgebench.plan.settings import Predict, Settings, Train, fields_by_scale, role_fields, scale_defaults

Map = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """Settings by role, and the file that they come from.

    Attributes:
        where: File (and part of it) for messages.
        content: Settings by role.
        kind: `recipe` may add roles; `scale` may touch only what a scale may change; `row` must not be
            overruled by a scale; `override` and `every` speak to all runs at once, so that keys which the method
            of a run does not have are passed over (`Workbench.check_overrides` finds those that no run has).
    """

    where: str
    content: Map
    kind: str = "change"


def resolve(layers: list[Layer]) -> dict[str, Settings]:
    """Lay `layers` over one another, lowest first, and check the result.

    Returns:
        Settings by role.

    Raises:
        ConfigError: an unknown role, stage, method or key, a value of the wrong kind, or a scale that touches
            what it must not; names the file, the key and the nearest known one.
    """
    merged: Map = {}
    scales: list[Layer] = []
    methods: dict[str, Any] = {}
    used_by_recipe: set[str] = set()
    for layer in layers:
        content = layer.content
        if layer.kind != "recipe":
            _check_roles(layer, set(merged))
        if layer.kind in ("override", "every"):
            content = _fitting(content, merged)
        elif layer.kind == "scale":
            # What a scale says is meant for the recipe's method.
            content = {
                role: _fitting({role: changes}, merged)[role]
                if merged[role].get("method") != methods[role]
                else changes
                for role, changes in content.items()
            }
            content = _left_to_scale(content, merged, layers)
            scales.append(Layer(layer.where, content, layer.kind))
        merged = merge(_without_other_methods(merged, content), content)
        if layer.kind == "recipe":
            methods = {role: settings.get("method") for role, settings in merged.items()}
            used_by_recipe = _used(merged, layers)
    merged = _on_images_of_users(merged, layers)
    merged = _without_idle(merged, used_by_recipe, layers)
    resolved = {role: _settings(role, content, layers) for role, content in merged.items()}
    for layer in scales:
        _check_scale(Layer(layer.where, {r: each for r, each in layer.content.items() if r in resolved}), resolved)
        _check_rows(layer, layers)
    return resolved


IMAGES = ("dataset", "split", "limit")
"""Which images a run works on."""


def _on_images_of_users(merged: Map, layers: list[Layer]) -> Map:
    """Give runs that name no data set the images of the run that uses them.

    A chain such as masks -> refined masks then names its data set once, and a section of a table changes it once. What
    is trained takes no images of what predicts: these are what it is tested on.
    """
    models = _models(merged, layers)
    found = dict(merged)
    waiting = {role for role in models if "dataset" in models[role].model_fields and "dataset" not in found[role]}
    while waiting:
        images: Map = {}
        for role in sorted(waiting):
            users = [
                user
                for user in models.keys() - waiting
                if not (issubclass(models[role], Train) and issubclass(models[user], Predict))
                and any(found[user].get(name) == role for name in role_fields(models[user]))
            ]
            taken = {user: _images(found[user], models[user]) for user in sorted(users)}
            if len({str(each) for each in taken.values()}) > 1:
                raise ConfigError(
                    f"{_origin(layers, role)}: run '{role}' names no data set, and the runs that use it "
                    f"({', '.join(taken)}) are of different images. Give it a dataset and a split."
                )
            if taken and any(taken.values()):
                images[role] = next(iter(taken.values()))
        if not images:
            break  # what nobody uses lacks a data set, as the check of its settings tells
        found |= {role: each | found[role] for role, each in images.items()}
        waiting -= images.keys()
    return found


def _without_idle(merged: Map, used_by_recipe: set[str], layers: list[Layer]) -> Map:
    """`merged` without runs that a row has no use for and that lack the images which they would have taken over."""
    while True:
        idle = used_by_recipe - _used(merged, layers)
        kept = {role: content for role, content in merged.items() if role not in idle or "dataset" in content}
        if len(kept) == len(merged):
            return kept
        merged = kept


def _models(merged: Map, layers: list[Layer]) -> dict[str, type[Settings]]:
    return {
        role: settings_class(str(content["stage"]), str(content["method"]), _origin(layers, f"{role}.method"))
        for role, content in merged.items()
        if content and {"stage", "method"} <= content.keys()
    }


def _used(merged: Map, layers: list[Layer]) -> set[str]:
    """Roles of the runs that others use."""
    models = _models(merged, layers)
    return {str(merged[role].get(name)) for role, model in models.items() for name in role_fields(model)} & set(merged)


def _images(content: Map, model: type[Settings]) -> Map:
    fields = {key: field for key, field in model.model_fields.items() if key in IMAGES}
    return {key: content.get(key, field.default) for key, field in fields.items()} if "dataset" in content else {}


def _fitting(content: Map, merged: Map) -> Map:
    """The part of an override that the methods of these runs know."""
    fitting: Map = {}
    for role, changes in content.items():
        method = (changes.get("method"), merged[role].get("method"))
        model = settings_class(merged[role].get("stage", ""), method[0] or method[1], "the command line")
        fitting[role] = {key: value for key, value in changes.items() if key.removesuffix("!") in model.model_fields}
    return fitting


def _left_to_scale(content: Map, merged: Map, layers: list[Layer]) -> Map:
    """What a scale sets without the choices that a row makes itself."""
    own = {dotted for layer in layers if layer.kind == "row" for dotted in leaves(layer.content)}
    models = _models(merged, layers)
    return {
        role: {
            key: value
            for key, value in changes.items()
            if not (f"{role}.{key}" in own and role in models and key in scale_defaults(models[role]))
        }
        for role, changes in content.items()
    }


def _without_other_methods(merged: Map, content: Map) -> Map:
    """`merged` without the settings of a method that `content` replaces: they mean nothing to another one."""
    kept = dict(merged)
    for role, changes in content.items():
        below = merged.get(role)
        method = changes.get("method") if isinstance(changes, dict) else None
        if below and method not in (None, below.get("method")):
            stage = str(changes.get("stage", below.get("stage")))
            fields = settings_class(stage, str(method), "the command line").model_fields
            kept[role] = {key: value for key, value in below.items() if key in fields and key != "resources"}
    return kept


def _check_roles(layer: Layer, roles: set[str]) -> None:
    for role, content in layer.content.items():
        if role.removesuffix("!") not in roles:
            raise ConfigError(f"{layer.where}: unknown run '{role}'.{nearest(role, roles)}")
        if content is not None and not isinstance(content, dict):
            raise ConfigError(f"{layer.where}: '{role}' is {content!r}, but a map of settings is needed.")


def _settings(role: str, content: Map, layers: list[Layer]) -> Settings:
    for key in ("stage", "method"):
        if key not in content:
            raise ConfigError(f"{_origin(layers, role)}: run '{role}' needs the key '{key}'.")
    where = _origin(layers, f"{role}.method")
    model = settings_class(str(content["stage"]), str(content["method"]), where)
    from pydantic import ValidationError

    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = []
        for each in error.errors():
            dotted = ".".join([role, *(str(part) for part in each["loc"] if isinstance(part, str))])
            lines.append(problem(model, each, f"{_origin(layers, dotted)}: run '{role}'"))
        # A union reports one problem per member; the person needs each sentence once.
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _origin(layers: list[Layer], dotted: str) -> str:
    """Where the topmost layer that sets `dotted` (or the nearest key above it) comes from."""
    while dotted:
        for layer in reversed(layers):
            if lookup(layer.content, dotted) is not None:
                return layer.where
        dotted = dotted.rpartition(".")[0]
    return layers[0].where


def _check_scale(scale: Layer, resolved: dict[str, Settings]) -> None:
    for role, content in scale.content.items():
        allowed = fields_by_scale(type(resolved[role]))
        for key in content:
            if key.removesuffix("!") not in allowed:
                raise ConfigError(
                    f"{scale.where}: a scale may not change '{role}.{key}', which belongs to the method."
                    f"{nearest(key, allowed)} Set it in a recipe or an experiment instead."
                )


def _check_rows(above: Layer, layers: list[Layer]) -> None:
    """A scale may not set what tells the rows apart: they would all be the same."""
    for layer in layers:
        if layer.kind == "row":
            for dotted in leaves(layer.content):
                value = lookup(above.content, dotted)
                if value is not None and value != lookup(layer.content, dotted):
                    raise ConfigError(
                        f"{layer.where}: sets '{dotted}', but {above.where} sets it to {value!r} for every row, so the "
                        f"rows would be the same. Leave it out there."
                    )


def released_of(layers: list[Layer], settings: dict[str, Settings]) -> dict[str, str]:
    """Checkpoints that stand for training runs: what the authors released for these settings
    (but that their code trained the image encoder too, which the paper and the recipes freeze).

    A layer above the one that names a checkpoint makes it void by changing the run, or a run that it is made from,
    unless it names one itself. What a scale changes does not count: then the authors' weights are taken as they are.

    Args:
        layers: The layers, lowest first.
        settings: What they resolve to.

    Returns:
        Name of the checkpoint by role.
    """
    released: dict[str, str] = {}
    for role, resolved in settings.items():
        if not isinstance(resolved, Train):
            continue
        concerned = _made_from(role, settings)
        for layer in layers:
            changes = {key.removesuffix("!"): value or {} for key, value in layer.content.items()}
            if layer.kind in ("scale", "every"):
                continue
            if "released" in changes.get(role, {}):
                released[role] = changes[role]["released"]
            elif any(set(changes.get(each, {})) - {"resources", "resources!"} for each in concerned):
                released.pop(role, None)
    return {role: name for role, name in released.items() if name}


def _made_from(role: str, settings: dict[str, Settings]) -> set[str]:
    """The role and all roles that its run is made from."""
    found, waiting = set[str](), [role]
    while waiting:
        each = waiting.pop()
        if each in settings and each not in found:
            found.add(each)
            waiting += [getattr(settings[each], name) for name in role_fields(type(settings[each]))]
    return found
