"""Sections of a table, on the real definitions and on copies of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgebench.errors import ConfigError
from edgebench.files import sha256_file
from edgebench.plan.tables import Table
from edgebench.plan.workbench import Workbench

MAIN = "diffdis/main_dis5k"
TE = ["te1", "te2", "te3", "te4"]


@pytest.fixture(scope="module")
def bench(root: Path) -> Workbench:
    return Workbench(root)


@pytest.fixture
def repository(tmp_path: Path, root: Path) -> Path:
    shutil.copytree(root / "config", tmp_path / "config")
    return tmp_path


def changed(repository: Path, name: str = MAIN, **changes: object) -> Workbench:
    path = repository / "config/experiments" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return Workbench(repository)


def group(key: str, **content: object) -> dict[str, object]:
    return {"key": key, "title": key.upper(), **content}


def splits(table: Table) -> dict[str, str]:
    return {row.key: row.runs[0].predict.settings["split"] for row in table.rows if row.runs}


def test_every_row_appears_once_per_section_on_its_data(bench: Workbench) -> None:
    table = bench.find_table("demo", MAIN)
    rows = ("diffdis", "otsu", "foreground")
    assert splits(table) == {f"{key}/{row}": key for key in ("vd", *TE) for row in rows}
    assert len({run.id for run in table.predictions}) == 15
    mean = {row.key: row for row in table.rows}["te/otsu"]
    assert (mean.combines, mean.runs) == ("mean", [])
    assert mean.members == [f"{key}/otsu" for key in TE]
    spec = table.spec()
    assert list(spec["groups"]) == ["vd", *TE, "te"]
    written = next(row for row in spec["rows"] if row["key"] == "te/otsu")
    assert (written["group"], written["published_only"], written["members"]) == ("te", False, mean.members)


def test_a_section_may_name_the_images_of_whatever_run_is_scored(repository: Path) -> None:
    by_role = {row.key: row.shows for row in Workbench(repository).find_table("demo", MAIN).rows}
    groups = yaml.safe_load((repository / f"config/experiments/{MAIN}.yaml").read_text())["groups"]
    for each in groups:
        if "set" in each:
            each["images"] = {"split": each.pop("set")["predict.split"]}
    assert {row.key: row.shows for row in changed(repository, groups=groups).find_table("demo", MAIN).rows} == by_role


def test_each_section_has_the_printed_numbers_of_its_data(bench: Workbench) -> None:
    rows = {row.key: row for row in bench.find_table("paper", MAIN).rows}
    assert [rows[f"{key}/diffdis"].published["max_f"] for key in ("vd", *TE, "te")] == [
        0.908, 0.883, 0.917, 0.934, 0.909, 0.911,
    ]  # fmt: skip
    assert rows["te3/printed: BiRefNet"].published["weighted_f"] == 0.888
    assert rows["te3/printed: BiRefNet"].group == "te3"
    assert "vd/printed: DiffDIS" not in rows
    assert not any("printed: DiffDIS reproduced" in key for key in rows if key.startswith("te/"))
    assert rows["te4/printed: IFA"].footnotes["s_measure"] == rows["te4/printed: PGNet"].footnotes["s_measure"]
    assert "swapped" in rows["te4/printed: IFA"].footnotes["s_measure"][0]
    assert "s_measure" not in rows["te3/printed: IFA"].footnotes


def test_sections_that_a_scale_makes_the_same_are_shown_once(bench: Workbench) -> None:
    table = bench.find_table("mini", MAIN)
    spec = table.spec()
    assert spec["groups"] == {"vd": "DIS-VD", "te": "DIS-TE1, DIS-TE2, DIS-TE3, DIS-TE4, DIS-TE (1-4)"}
    te = {row.key: row for row in table.rows if row.group == "te"}
    assert te["te/diffdis"].runs[0].predict.settings["dataset"] == "davis"
    assert (te["te/diffdis"].members, te["te/diffdis"].published["max_f"]) == ([], 0.911)
    assert {row.group for row in table.rows} == {"vd", "te"}
    noted = [note for note in spec["notes"] if "shown once" in note]
    assert len(noted) == 1
    assert "printed numbers beside them are those of DIS-TE (1-4)" in noted[0]
    assert not any("shown once" in note for note in bench.find_table("demo", MAIN).spec()["notes"])


def test_a_mean_of_some_same_sections_speaks_of_those_that_are_shown(repository: Path) -> None:
    """Two of four splits are the same images; claims and members name the section that is left."""
    path = repository / "config/scales/mini.yaml"
    content = yaml.safe_load(path.read_text())
    content["stand_ins"]["dis5k"] = {
        "dataset": "scenes_dis",
        "split": {"vd": "vd", "te1": "te1", "te2": "te1", "te3": "te3", "te4": "te4"},
    }
    path.write_text(yaml.safe_dump(content))
    claims = ["te2/diffdis.max_f > te2/otsu.max_f", "te1/diffdis.max_f > te1/otsu.max_f", "te/diffdis.max_f > 0.5"]
    table = changed(repository, claims=claims).find_table("mini", MAIN)
    assert list(table.spec()["groups"].values()) == [
        "DIS-VD", "DIS-TE1, DIS-TE2", "DIS-TE3", "DIS-TE4", "DIS-TE (1-4)",
    ]  # fmt: skip
    mean = next(row for row in table.rows if row.key == "te/diffdis")
    assert mean.members == ["te1/diffdis", "te1/diffdis", "te3/diffdis", "te4/diffdis"]
    assert table.spec()["claims"] == [claims[1], claims[2]]
    assert next(row for row in table.rows if row.key == "te1/diffdis").published["max_f"] == 0.883


def test_rows_that_a_scale_makes_the_same_are_told(bench: Workbench) -> None:
    said = (
        "These rows show the same runs at this scale: From scratch, train 1, test 1; SD-Turbo, train 1, test 1; SD 2.1"
    )
    for scale, expected in (("demo", True), ("paper", False)):
        notes = bench.find_table(scale, "diffdis/pretrained_steps").spec()["notes"]
        assert any(note.startswith(said) for note in notes) == expected


def test_a_spread_over_draws_shares_the_weights(bench: Workbench) -> None:
    table = bench.find_table("paper", "diffdis/determinism")
    rows = {row.key: row for row in table.rows}
    assert rows["spread/none"].members == [f"draw{k}/none" for k in range(5)]
    assert rows["spread/none"].combines == "spread"
    for name in ("mutual", "none"):
        predictions = [rows[f"draw{k}/{name}"].runs[0].predict for k in range(5)]
        assert len({each.id for each in predictions}) == 5
        assert len({each.inputs["weights"].id for each in predictions}) == 1
    main = {row.key: row for row in bench.find_table("paper", MAIN).rows}["vd/diffdis"]
    assert rows["draw0/mutual"].runs[0].predict.id == main.runs[0].predict.id


def test_masks_of_other_methods_enter_as_the_experiment_says(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example in the file's comment, uncommented."""
    path = repository / f"config/experiments/{MAIN}.yaml"
    text = path.read_text()
    example = "".join(f"{line[4:]}\n" for line in text.splitlines() if re.match(r"#   \S|#     \S", line))
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "one.png").write_bytes(b"a mask")
    (row,) = yaml.safe_load(example.replace("/data/masks/birefnet", str(masks)))
    rows = yaml.safe_load(text)["rows"]
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("edgebench.plan.chains.sha256_file", counted)
    table = changed(repository, rows=[*rows, row]).find_table("paper", MAIN)
    assert read == [masks / "one.png"]  # not once per section
    brought = {each.key: each for each in table.rows}["te4/birefnet"]
    settings = brought.runs[0].predict.settings
    assert (settings["method"], settings["split"], settings["folder"]) == ("brought", "te4", str(masks))
    assert brought.published["max_f"] == 0.906
    assert not any("printed: BiRefNet" in each.key for each in table.rows)
    (masks / "one.png").write_bytes(b"another mask")
    again = {each.key: each for each in Workbench(repository).find_table("paper", MAIN).rows}["te4/birefnet"]
    assert again.runs[0].predict.id != brought.runs[0].predict.id


def test_a_printed_row_with_the_numbers_of_another_is_shown(repository: Path) -> None:
    path = repository / "config/published/diffdis.csv"
    lines = path.read_text().splitlines(keepends=True)
    diffdis = [line for line in lines if ",table2_main,DiffDIS,,DIS-TE2," in line]
    others = [line for line in lines if ",table2_main,MVANet,,DIS-TE2," not in line]
    twins = [line.replace(",DiffDIS,", ",MVANet,") for line in diffdis]
    path.write_text("".join([*others, *twins]))
    rows = {row.key: row for row in Workbench(repository).find_table("paper", MAIN).rows}
    assert rows["te2/printed: MVANet"].published == rows["te2/diffdis"].published


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": [group("a"), group("a")]}, "key 'a' appears twice"),
        ({"groups": [group("a"), group("b"), group("m", mean_of=["a", "x"])]}, "'m' is made of 'x'"),
        ({"groups": [group("a"), group("m", mean_of=["a"])]}, "need two sections or more"),
        ({"groups": [group("a"), group("m", mean_of=["a", "a"], spread_of=["a", "a"])]}, "say one of"),
        ({"groups": [group("a", printed="DIS-VDX")]}, r"group 'a': nothing is printed for 'DIS-VDX'.*'DIS-VD'"),
        ({"groups": [group("a", set={"predict.split": "vdx"})], "claims": []}, "split 'vdx' of data set"),
        ({"groups": [group("a")]}, r"claim 'vd/diffdis.*unknown row 'vd/diffdis'"),
        (
            {
                "groups": [group("a", set={"predict.split": "vd"})],
                "rows": [{"key": "otsu", "label": "Otsu", "recipe": "otsu_dis5k", "set": {"predict.split": "te1"}}],
            },
            "row 'otsu' and group 'a' both set 'predict.split'",
        ),
        ({"groups": []}, r"DiffDIS.* has several printed numbers for '\w+'. Add a 'dataset'"),
    ],
)
def test_wrong_sections_are_named(repository: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        changed(repository, **changes).plan("demo")
    assert f"config/experiments/{MAIN}.yaml" in str(raised.value)


def test_notes_of_a_scale_belong_to_a_paper(repository: Path) -> None:
    path = repository / "config/scales/demo.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"notes": {"diffdis": ["Small objects."], "memo": ["Thin lines."]}}))
    bench = Workbench(repository)
    notes = {paper: bench.find_table("demo", name).spec()["notes"] for paper, name in (
        ("memo", "memo/guidance"), ("diffdis", MAIN),
    )}  # fmt: skip
    assert ("Small objects." in notes["diffdis"], "Thin lines." in notes["diffdis"]) == (True, False)
    assert ("Small objects." in notes["memo"], "Thin lines." in notes["memo"]) == (False, True)
    path.write_text(yaml.safe_dump(content | {"notes": {"difdis": ["Small objects."]}}))
    with pytest.raises(ConfigError, match=r"demo.yaml: notes.*'difdis'.*'diffdis'"):
        Workbench(repository).plan("demo")
