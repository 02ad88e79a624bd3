"""Settings of every method, found by folder: a file here that defines `SETTINGS` adds its methods."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from edgebench.errors import ConfigError, nearest
from edgebench.plan.settings import Settings


@cache
def all_settings() -> dict[tuple[str, str], type[Settings]]:
    """Settings classes by (stage, method)."""
    found: dict[tuple[str, str], type[Settings]] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").SETTINGS
    return found


def settings_class(stage: str, method: str, where: str) -> type[Settings]:
    """The settings class of a method at a stage.

    Raises:
        ConfigError: there is no such stage or method; names the nearest.
    """
    known = all_settings()
    stages = {each for each, _ in known}
    if stage not in stages:
        raise ConfigError(f"{where}: unknown stage '{stage}'.{nearest(stage, stages)}")
    if (stage, method) not in known:
        methods = [name for each, name in known if each == stage]
        raise ConfigError(f"{where}: unknown method '{method}' for stage '{stage}'.{nearest(method, methods)}")
    return known[stage, method]
