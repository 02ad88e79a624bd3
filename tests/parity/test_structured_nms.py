"""Orientation, suppression and post-processing, bit for bit, against OpenCV's structured edge detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgebench.metrics.edges.structured import clean_edges, crest, structured_nms, structured_orientation


@pytest.mark.parametrize("drawing", ["0.binary", "0.soft", "1.binary", "1.soft"])
def test_every_pixel_is_opencvs(shared: Path, drawing: str) -> None:
    with np.load(shared / "fixtures" / "memo" / "opencv_nms.npz", allow_pickle=False) as arrays:
        stored = {name.removeprefix(f"{drawing}."): arrays[name] for name in arrays if name.startswith(drawing)}
    edge = stored["edge"]
    np.testing.assert_array_equal(structured_orientation(edge), stored["orient"])
    np.testing.assert_array_equal(structured_nms(edge), stored["nms"])
    np.testing.assert_array_equal(crest(edge), stored["biped_binarised"])
    np.testing.assert_array_equal(np.where(clean_edges(edge), edge, 0), stored["postproc"])
