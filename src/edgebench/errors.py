"""What people read when something is wrong: the exception they can act on, and the name they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgebenchError(Exception):
    """Something the person can put right.

    The message names the file, the key or image, the value, and what to type next. The command line prints
    it without a traceback and exits with status 2.
    """


class ConfigError(EdgebenchError):
    """A setting, an experiment or a definition file is wrong."""


class DataError(EdgebenchError):
    """An image, an annotation, a download or a weight file is missing, damaged or of the wrong kind."""


def nearest(word: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' when one of `known` is close to `word` (case ignored), else the list of them."""
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{by_lower[close[0]]}'?"
    return f" Known: {', '.join(choices)}." if choices else ""
