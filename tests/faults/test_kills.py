"""SIGKILL at random moments of every stage: started again, each ends with the files of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign import FindWork, Tally, kill_again_and_again

STAGES = {
    "fetch scenes": 2,
    "fetch scenes_coco": 2,
    "synthesise mask_edges": 3,
    "contours mask_contours": 1,
    "skeletons mask_skeletons": 1,
    "pretrain memo": 4,
    "finetune memo": 2,
    "train diffdis": 4,
    "pretrain trace_backbone": 2,
    "distill trace": 3,
    "segmenter mask2former": 3,
    "predict memo": 3,
    "predict canny": 1,
    "predict diffdis": 2,
    "stage1 trace_attention": 3,
    "edges trace": 2,
    "masks maskcut": 2,
    "refine trace_refine": 2,
    "semantic true_semantic": 1,
    "panoptic trace_panoptic": 2,
    "predict mask2former": 2,
    "evaluate bsds_ceval": 2,
    "evaluate crispness": 1,
    "evaluate masks_diffdis": 1,
    "evaluate instance_edges": 1,
    "evaluate instances": 1,
    "evaluate panoptic": 1,
    "table memo": 2,
    "table diffdis": 1,
    "figure memo": 1,
    "figure diffdis": 1,
    "figure trace": 1,
}
"""Stages by role and method, data set, protocol or paper; and each one's share of the kills."""

SHARE_OF_FETCHES = 12
"""Those of `test_fetch.py`, all together."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage(stage: str, kills: int, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    tally.stage = stage
    share = round(kills * STAGES[stage] / (sum(STAGES.values()) + SHARE_OF_FETCHES))
    kill_again_and_again(find_work(stage), max(1, share), f"{seed} {stage}", tmp_path / "struck", tally)
    assert tally.losses == []
