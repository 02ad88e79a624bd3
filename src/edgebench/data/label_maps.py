"""Reading pictures whose pixels are numbers: classes or objects, as palette or grey PNG of 8 or 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebench.data.images import describe_content
from edgebench.errors import DataError


def read_labels(path: str | Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a PNG as the numbers that it holds: indices of a palette, or levels of grey, without any scaling.

    Returns:
        uint8 (H, W), or uint16 where the file has 16 bits.

    Raises:
        DataError: the file is missing, damaged, or has colours in place of numbers.
    """
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file. Fetch the data set again.")
    try:
        with Image.open(path, formats=("PNG",)) as file:
            mode, labels = file.mode, np.array(file)
    except Exception as error:  # Pillow raises half a dozen kinds for a damaged file
        what = describe_content(path) or f"not a readable PNG ({error}); it may be truncated"
        raise DataError(f"{path}: {what}. Write or copy it again.") from error
    if mode in ("P", "L"):
        return labels.astype(np.uint8, copy=False)
    if mode == "1":
        return labels.astype(np.uint8)
    if mode.startswith("I"):
        return labels.astype(np.uint16)
    raise DataError(
        f"{path}: pixels of the kind {mode}, where each is a number: the index in a palette, or a level of grey. Save "
        f"it so, without colours and transparency."
    )
