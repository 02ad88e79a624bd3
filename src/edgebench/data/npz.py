"""What goes wrong with .npz files."""

from __future__ import annotations

import zlib
from zipfile import BadZipFile

DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error)
"""What NumPy, zipfile and zlib raise when a file is missing, cut short, changed or of another kind."""
