from __future__ import annotations

from pathlib import Path

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.published import published_rows

HEAD = "paper,table,method,variant,dataset,metric,value,source,note\n"


def test_rows_of_one_table(root: Path) -> None:
    rows = published_rows(root / "config/published/memo.csv", "ablation_reveal_steps")
    full = {each.metric: each.value for each in rows if each.variant == "Full-step inference"}
    assert full == {"seval_ods": 0.846, "ceval_ods": 0.842, "ac": 0.840}
    assert {each.method for each in rows} == {"MEMO"}


def test_a_number_given_in_words_only_is_none(root: Path) -> None:
    rows = published_rows(root / "config/published/memo.csv", "ablation_training_data")
    assert [each.value for each in rows] == [None, None]
    assert rows[0].note.startswith("qualitative only")


def test_unknown_table_names_the_nearest(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no table 'main_bsd'\. Did you mean 'main_bsds'\?"):
        published_rows(root / "config/published/memo.csv", "main_bsd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "memo,main,HED,,BSDS,ac,0.2x,x,\n", "line 2: value '0.2x' is not a number"),
        ("paper,table\nmemo,main\n", "column 'method' is missing"),
    ],
)
def test_a_damaged_file_says_where(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "memo.csv"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        published_rows(path, "main")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trace\.csv: no such file"):
        published_rows(tmp_path / "trace.csv", "main")
