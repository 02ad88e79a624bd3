"""What a data set's definition may say of archives, and what of it decides the data set's identity."""

from __future__ import annotations

from typing import Any

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.definitions import Dataset
from edgebench.plan.reading import validate
from edgebench.plan.runs import definition_digest, is_pinned

SHA256, OTHER = "0" * 64, "1" * 64


def dataset(*archives: dict[str, Any], **source: Any) -> dict[str, Any]:
    """A definition as plain data, checked, as a plan carries it."""
    content = {
        **{"name": "tiny", "title": "Tiny", "layout": "pairs", "images": {"all": 1}},
        **{"licence": "none", "terms": "none", "citation": "none"},
        "source": {"archives": list(archives), **source},
    }
    return validate(Dataset, content, "tiny.yaml").model_dump(mode="json", exclude_none=True)


def archive(**changes: Any) -> dict[str, Any]:
    return {"file": "a.zip", "urls": ["https://example.org/a.zip"], "sha256": SHA256, **changes}


class TestIdentity:
    @pytest.mark.parametrize("same", [{"urls": ["http://elsewhere.org/b.zip"]}, {"bytes": 5}])
    def test_places_and_sizes_do_not_count(self, same: dict[str, Any]) -> None:
        assert definition_digest(dataset(archive(**same))) == definition_digest(dataset(archive()))

    @pytest.mark.parametrize(
        "other",
        [
            {"sha256": OTHER},
            {"sha256": None, "md5": "0" * 32},
            {"sha256": None, "unpinned": "nobody says"},
            {"only": ["images/*"]},
            {"inner": ["*.zip"]},
            {"strip": 1},
            {"into": "images"},
        ],
    )
    def test_content_counts(self, other: dict[str, Any]) -> None:
        assert definition_digest(dataset(archive(**other))) != definition_digest(dataset(archive()))

    def test_the_reason_for_no_digest_does_not_count(self) -> None:
        one, two = (dataset(archive(sha256=None, unpinned=reason)) for reason in ("nobody says", "they are away"))
        assert definition_digest(one) == definition_digest(two)

    def test_data_sets_without_archives_keep_their_ids(self) -> None:
        """A run's folder is called by it; those of before archives were known must be found."""
        before = {"name": "tiny", "layout": "pairs", "source": {"local": True}, "images": {"all": 1}}
        assert definition_digest(dataset(local=True)) == definition_digest(before)

    def test_pinned(self) -> None:
        unknown = archive(file="b.zip", sha256=None, unpinned="nobody says")
        assert is_pinned(dataset(archive()))
        assert is_pinned(dataset(archive(sha256=None, md5="0" * 32)))
        assert not is_pinned(dataset(archive(), unknown))
        assert not is_pinned(dataset(local=True))
        assert is_pinned(dataset(draw={}))


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"md5": "0" * 32}, "exactly one of 'sha256', 'md5' and 'unpinned'"),
            ({"sha256": None}, "exactly one of 'sha256', 'md5' and 'unpinned'"),
            ({"sha256": "00ff"}, "source.archives.0.sha256"),
            ({"urls": []}, "source.archives.0.urls"),
            ({"urls": ["ftp://example.org/a.zip"]}, "source.archives.0.urls.0"),
            ({"file": "../a.zip"}, "source.archives.0.file"),
            ({"file": "a/b.zip"}, "source.archives.0.file"),
            ({"into": "../.."}, "source.archives.0.into"),
            ({"into": "/tmp"}, "source.archives.0.into"),
            ({"into": ".hidden"}, "source.archives.0.into"),
            ({"strip": -1}, "source.archives.0.strip"),
            ({"mirror": "x"}, "unknown key 'source.archives.0.mirror'"),
        ],
    )
    def test_are_named(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            dataset(archive(**changes))

    def test_two_of_one_name(self) -> None:
        with pytest.raises(ConfigError, match="two archives have one name"):
            dataset(archive(), archive(sha256=OTHER))

    @pytest.mark.parametrize("source", [{"local": True}, {"manifest": "a.sha256"}, {"draw": {}}, {"mirrors": ["x"]}])
    def test_two_sources(self, source: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=r"exactly one of|belongs to 'manifest'"):
            dataset(archive(), **source)
