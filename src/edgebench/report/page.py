"""A page of Snakemake's HTML report, made light enough to mail."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from edgebench.errors import EdgebenchError
from edgebench.files import write_text
from edgebench.plan.tables import FIGURE_MB, MAIL_MB

LONGEST = 2400
QUALITIES = (90, 80, 65, 50)
_PICTURE = re.compile(r"data:image/png;[^,]{,300};base64,([A-Za-z0-9+/=]+)")


def finish_page(collected: Path, path: Path) -> None:
    """Recompress the large pictures of a finished page, name the page, and say how large it is.

    The pictures below `results/figures` stay as they are.

    Args:
        collected: The page as Snakemake left it; deleted in the end.
        path: The finished page, which appears as a whole.

    Raises:
        EdgebenchError: there is no such page.
    """
    if not collected.is_file():
        raise EdgebenchError(f"{collected}: no such page. Make it with: snakemake results/report/SCALE.html")
    text = _PICTURE.sub(_lighter, collected.read_text(encoding="utf-8"))
    text = text.replace("<title>Snakemake Report</title>", f"<title>edgebench {path.stem}</title>", 1)
    write_text(path, text)
    collected.unlink()
    size = path.stat().st_size / 1e6
    print(f"{path}: {size:.1f} MB.")
    if size > MAIL_MB:
        print("Most mail servers take less. Papers have pages of their own: results/report/SCALE-PAPER.html.")


def _lighter(found: re.Match[str]) -> str:
    limit = FIGURE_MB * 1e6 * 3 / 4  # of the bytes that base64 makes a third longer
    content = base64.b64decode(found[1])
    if len(content) <= limit:
        return found[0]
    content = recompressed(content, int(limit))
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def recompressed(content: bytes, limit: int) -> bytes:
    """A picture as WebP of at most `limit` bytes and `LONGEST` pixels a side, or in the lowest quality."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGBA" if opened.mode in ("RGBA", "LA", "P") else "RGB")
    picture.thumbnail((LONGEST, LONGEST))
    made = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality)
        made = buffer.getvalue()
        if len(made) <= limit:
            break
    return made
