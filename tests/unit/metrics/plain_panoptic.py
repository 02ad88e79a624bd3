"""Panoptic quality one pair of segments at a time, each intersection counted over the whole image."""

from __future__ import annotations

import numpy as np


def count_segments(prediction, truth, predicted, true, crowds=()):
    """As `edgebench.metrics.panoptic.count_segments`; class -> [iou, tp, fp, fn]."""
    counts = {category: [0.0, 0, 0, 0] for category in {*predicted.values(), *true.values()}}
    known = truth != 0
    missed, false = set(true) - set(crowds), set(predicted)
    for t in sorted(true):
        for p in sorted(predicted):
            if t in crowds or true[t] != predicted[p]:
                continue
            shared = np.count_nonzero((truth == t) & (prediction == p))
            union = np.count_nonzero((truth == t) | ((prediction == p) & known))
            if shared / union > 0.5:
                counts[true[t]][0] += shared / union
                counts[true[t]][1] += 1
                missed.discard(t)
                false.discard(p)
    for t in missed:
        counts[true[t]][3] += 1
    for p in false:
        forgiven = ~known
        for t in [t for t in true if t in crowds and true[t] == predicted[p]][-1:]:
            forgiven = forgiven | (truth == t)
        if np.count_nonzero(forgiven & (prediction == p)) / np.count_nonzero(prediction == p) <= 0.5:
            counts[predicted[p]][2] += 1
    return {category: each for category, each in counts.items() if any(each)}
