"""Files that are cut short or lose a bit: named by whoever reads them, and never used."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.campaign import FindWork, Tally, Work

CONSUMERS = [
    # what reads, and which of its inputs' files
    ("pretrain memo", "synthesise/*/maps/*.tar"),
    ("finetune memo", "pretrain/memo-*/weights.safetensors"),
    ("predict memo", "finetune/*/weights.safetensors"),
    ("predict memo", "fetch/scenes-*/images/test/*"),
    ("evaluate bsds_ceval", "predict/memo-*/maps/*.png"),
    ("evaluate bsds_ceval", "fetch/scenes-*/groundTruth/test/*.mat"),
    ("evaluate crispness", "predict/memo-*/maps/*.png"),
    ("train diffdis", "contours/*/maps/*.png"),
    ("predict diffdis", "train/*/weights.safetensors"),
    ("evaluate masks_diffdis", "predict/diffdis-*/maps/*.png"),
    ("evaluate masks_diffdis", "skeletons/*/skeletons/*.png"),
    ("stage1 trace_attention", "pretrain/trace_backbone-*/weights.safetensors"),
    ("distill trace", "pseudo/*/labels/*.npz"),
    ("edges trace", "distill/*/weights.safetensors"),
    ("refine trace_refine", "masks/*/instances/*.json"),
    ("refine trace_refine", "edges/*/maps/*.png"),
    ("evaluate instances", "refine/*/instances/*.json"),
    ("panoptic trace_panoptic", "semantic/*/semantic/*.png"),
    ("segmenter mask2former", "panoptic/*/panoptic/*.png"),
    ("segmenter mask2former", "panoptic/*/panoptic/*.json"),
    ("predict mask2former", "segmenter/*/weights.safetensors"),
    ("evaluate panoptic", "predict/mask2former-*/panoptic/*.png"),
    ("evaluate panoptic", "predict/mask2former-*/panoptic/*.json"),
    ("evaluate bsds_ceval", "predict/memo-*/run.json"),
    ("distill trace", "pretrain/trace_backbone-*/run.json"),
]


def damaged_input(work: Work, pattern: str, folder: Path) -> list[Path]:
    """Lay a command out with its inputs copied; gives the files among them that fit a pattern below `results/runs`."""
    work.lay_out(folder)
    for need in work.needs:
        if (folder / need).is_dir():
            (folder / need).unlink()
            shutil.copytree(work.repository / need, folder / need)
    files = sorted(path for path in folder.glob(f"results/runs/{pattern}") if path.is_file())
    assert files, f"{work.output} reads no {pattern}"
    return files


@pytest.mark.parametrize(("stage", "pattern"), CONSUMERS)
def test_a_file_cut_short(
    stage: str, pattern: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int
) -> None:
    """Anywhere, or to nothing. It is named without a traceback; put right, the same command ends as if undisturbed."""
    work, rng = find_work(stage), random.Random(f"{seed} cut {stage} {pattern}")
    tally.stage, tally.fault, tally.work = stage, "cut short", work.calm.work
    folder = tmp_path / "run"
    for length in (0, rng.random()):
        file = rng.choice(damaged_input(work, pattern, folder))
        content = file.read_bytes()
        file.write_bytes(content[: int(length * len(content))])
        told = work.finish_in(folder)
        tally.faults += 1
        where = f"{file.relative_to(folder)} cut to {int(length * len(content))} of {len(content)} bytes"
        if told.code != 2 or file.name not in told.said or "Traceback" in told.said:
            tally.losses.append(f"{where}: exit status {told.code}: {told.said[-1500:]}")
        if (folder / work.output / "run.json").exists():
            tally.losses.append(f"{where}: was used")
        file.write_bytes(content)
        again = work.finish_in(folder)
        tally.losses += [f"{where}: {line}" for line in work.losses_in(folder, again)]
        tally.repeated += max(0, told.work + again.work - work.calm.work)
    assert tally.losses == []


CHECKED = [each for each in CONSUMERS if each[1].endswith((".png", ".npz", ".safetensors", ".tar"))]
"""Files with a checksum: of their format, or for weights in the record of the run that made them."""


@pytest.mark.parametrize(("stage", "pattern"), CHECKED)
def test_a_changed_bit(stage: str, pattern: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int) -> None:
    """It is seen, or it changes nothing: not every bit of a file means something."""
    work, rng, folder = find_work(stage), random.Random(f"{seed} bit {stage} {pattern}"), tmp_path / "run"
    tally.stage, tally.fault, tally.faults, tally.work = stage, "changed bit", 1, work.calm.work
    file = rng.choice(damaged_input(work, pattern, folder))
    content = bytearray(file.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    told = work.finish_in(folder)
    where = f"{file.relative_to(folder)}, bit {bit} of byte {place}"
    if told.code not in (0, 2) or "Traceback" in told.said or (told.code and file.name not in told.said):
        tally.losses.append(f"{where}: exit status {told.code}: {told.said[-1500:]}")
    elif told.code == 0:
        tally.losses += [f"{where}: {line}" for line in work.losses_in(folder, told)]
    tally.repeated = max(0, told.work - work.calm.work)
    assert tally.losses == []


TRAINED = ["pretrain memo", "train diffdis", "distill trace", "segmenter mask2former"]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("stage", TRAINED)
def test_damaged_checkpoints(
    stage: str, both: bool, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int
) -> None:
    """The newest, cut short or with a changed bit, gives way to the one before; without any it starts over."""
    work, rng, folder = find_work(stage), random.Random(f"{seed} {stage} {both}"), tmp_path / "run"
    tally.stage, tally.fault, tally.work = stage, "damaged checkpoint", work.calm.work
    work.lay_out(folder)
    # Most of its file operations are those of its end; of them, the one that renames the folder of checkpoints away.
    for part in range(work.calm.operations, 0, -max(1, work.calm.operations // 12)):
        killed = work.begin_in(folder, watched=work.output, strike_at=part).end()
        if len(checkpoints := sorted((folder / work.output / "work").glob("step-*.safetensors"))) == 2:
            break
        work.lay_out(folder)
    assert len(checkpoints) == 2
    for file in checkpoints if both else checkpoints[1:]:
        content = bytearray(file.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
    ending = work.finish_in(folder)
    tally.faults = 1 + both
    tally.losses = work.losses_in(folder, ending)
    if ending.said.count("This checkpoint is damaged") != 1 + both:
        tally.losses.append(f"not told: {ending.said}")
    tally.repeated = killed.work + ending.work - work.calm.work
    assert tally.losses == []


SCORED = [
    ("table memo", "evaluate/*-ceval-*"),
    ("figure memo", "evaluate/*-ceval-*"),
    ("table diffdis", "evaluate/diffdis-*"),
]


@pytest.mark.parametrize("file", ["scores.json", "counts.npz", "run.json"])
@pytest.mark.parametrize(("stage", "runs"), SCORED)
def test_damaged_scores(
    stage: str, runs: str, file: str, find_work: FindWork, tally: Tally, tmp_path: Path, seed: int
) -> None:
    """Cut short, as a table or a figure finds them."""
    work, rng, folder = find_work(stage), random.Random(f"{seed} {stage} {file}"), tmp_path / "run"
    tally.stage, tally.fault = stage, "cut short"
    for length in (0, rng.random()):
        target = rng.choice(damaged_input(work, f"{runs}/{file}", folder))
        content = target.read_bytes()
        target.write_bytes(content[: int(length * len(content))])
        told = work.finish_in(folder)
        tally.faults += 1
        if told.code != 2 or target.parent.name not in told.said or "Traceback" in told.said:
            tally.losses.append(f"{file} cut to {int(length * len(content))}: {told.code}: {told.said[-1500:]}")
        target.write_bytes(content)
        tally.losses += work.losses_in(folder, work.finish_in(folder))
    assert tally.losses == []
