"""TRACE's first stage, for the predict stage."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import fields
from statistics import mean
from typing import Any

import numpy as np
import torch

from edgebench.data.adapters import Dataset
from edgebench.methods.trace.capture import choose_blocks
from edgebench.methods.trace.extract import ExtractSettings, edge_map, extract, levels
from edgebench.methods.trace.label_files import read_labels, write_labels
from edgebench.methods.trace.opening import backbone_note, open_backbone
from edgebench.methods.trace.watching import watch
from edgebench.report.emergence import FOLDER, Emerging, write_emerging
from edgebench.stages.devices import choose_device
from edgebench.stages.inputs import labels_file
from edgebench.stages.predictors import Prepared
from edgebench.stages.spec import RunSpec


def trace_attention(spec: RunSpec, dataset: Dataset) -> Prepared:
    """ABDiv as maps of edges, with pseudo labels beside them that the second stage learns from."""
    torch.set_num_threads(spec.threads)
    settings, device = spec.settings, choose_device(spec.settings["device"])
    if "backbone" in spec.content["inputs"]:
        chosen = (settings[name] for name in ("size", "precision", "reads", "layers"))
        backbone = open_backbone(spec.input("backbone"), *chosen)
    else:
        backbone = open_backbone(spec.input("pretrained"))
    backbone.network.to(device)
    given: dict[str, Any] = {each.name: settings[each.name] for each in fields(ExtractSettings)}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    how = ExtractSettings(**given | lists)
    choose_blocks(backbone, how.blocks)
    watched = set(dataset.ids[: settings["watched"]] if len(levels(backbone, how)) > 1 else [])

    def maps(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        made = []
        for image, image_id in zip(images, ids, strict=True):
            found = extract(backbone, image, image_id, spec.seed, how, device)
            write_labels(labels_file(spec.folder, image_id), found)
            if image_id in watched:
                seen = watch(backbone, image, image_id, spec.seed, how, device)
                write_emerging(spec.folder / FOLDER / f"{image_id}.npz", Emerging(**vars(seen)))
            made.append(edge_map(found.scores, *image.shape[:2]))
        return made

    return Prepared(maps, backbone_note(backbone))


def summary(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """How the pseudo labels fall, and which steps were kept."""
    # From the files, because an interrupted run made only some of them this time.
    told = [read_labels(labels_file(spec.folder, each)) for each in dataset.ids]
    if not told:
        return {}
    guarded = sum(each.guarded for each in told)
    if guarded and not os.environ.get("EDGEBENCH_QUIET"):
        print(
            f"{spec.content['label']}: in {guarded} of {len(told)} images next to nothing is below mean - "
            f"deviation; the lowest {spec.settings['guard_lowest']:.0%} are their interior instead (guard_below).",
            file=sys.stderr,
        )
    kept = Counter(each.kept for each in told if each.kept is not None)
    return {
        "edge": mean(each.edge for each in told),
        "interior": mean(each.interior for each in told),
        "unknown": mean(each.unknown for each in told),
        "guarded": guarded,
        "kept": {str(tau): kept[tau] for tau in sorted(kept)},
    }
