"""What columns are called, and how their numbers are written."""

from __future__ import annotations

from edgebench.report.collect import ADDED, SECONDS, TIMES

_TITLES = {
    SECONDS: "Seconds per image",
    ADDED: "Added parameters (%)",
    "edges_seconds_per_image": "Seconds per image of the edges",
    "labels_seconds_per_image": "Seconds per image of stage 1",
    "edge_share": "Edge share",
    "interior_share": "Interior share",
    "unknown_share": "Unknown share",
    "guarded": "Images guarded",
    "kept_tau": "Mean kept step",
}
_WHOLE = ("guarded", "kept_tau")
_WORDS = {
    "seval": "SEval",
    "ceval": "CEval",
    "lpips": "LPIPS",
    "cldice": "clDice",
    **{name: name.upper() for name in ("ap50", "ap75", "ar10", "ar100")},
    **{prefix: prefix.capitalize() for prefix in ("edge", "outline", "adjacent", "apart")},
    "class": "Per-class",
}
_MASK_TITLES = {
    "max_f": "Max F",
    "mean_f": "Mean F",
    "adaptive_f": "Adaptive F",
    "weighted_f": "Weighted F",
    "s_measure": "S-measure",
    "max_e": "Max E",
    "mean_e": "Mean E",
    "adaptive_e": "Adaptive E",
    "mae": "MAE",
    "hce": "HCE",
    "biou": "BIoU",
    "iou": "IoU",
}


def kind_of(column: str) -> str:
    """The mask metric of a column, without the prefix of its protocol; empty for other columns."""
    return next((kind for kind in _MASK_TITLES if column == kind or column.endswith(f"_{kind}")), "")


def column_title(column: str) -> str:
    """`seval_ods` as `SEval ODS`, `standard_max_f` as `Standard max F`, `pq_things` as `PQ things`."""
    if column in _TITLES:
        return _TITLES[column]
    if kind := kind_of(column):
        title, prefix = _MASK_TITLES[kind], column.removesuffix(kind).rstrip("_")
        return f"{prefix.capitalize()} {title[0].lower() if ' ' in title else title[0]}{title[1:]}" if prefix else title
    words = column.split("_")
    return " ".join(_WORDS.get(word, word.upper() if len(word) <= 3 else word) for word in words)


def number(value: float | None, column: str = "", *, fine: bool = False) -> str:
    """Three decimals, as papers print scores; three digits for times; a dash for nothing.

    HCE, images and time steps are whole numbers.

    Args:
        value: The number.
        column: Name of its column.
        fine: Two digits, however small the number is.
    """
    if value is None:
        return "–"
    if fine:
        return f"{value:.2g}"
    if kind_of(column) == "hce" or column in _WHOLE:
        return f"{value:.0f}"
    return f"{value:.3g}" if column in TIMES else f"{value:.3f}"


def footnote_letter(index: int) -> str:
    """`a` to `z`, then `aa`, `ab`, ..."""
    before, last = divmod(index, 26)
    return (footnote_letter(before - 1) if before else "") + chr(ord("a") + last)
