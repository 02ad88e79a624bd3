"""Identity, sharing and clear mistakes, on a copy of the real definitions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from edgebench.errors import ConfigError
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench

MAIN = "config/experiments/memo/main_bsds.yaml"
STEPS = "config/experiments/memo/ablation_reveal_steps.yaml"


@pytest.fixture
def repository(tmp_path: Path, root: Path) -> Path:
    """A folder with the definitions, free to change."""
    shutil.copytree(root / "config", tmp_path / "config")
    return tmp_path


def change(repository: Path, file: str, old: str, new: str) -> None:
    path = repository / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def ids(repository: Path, scale: str = "demo", **config: object) -> set[str]:
    return set(Workbench(repository, dict(config)).plan(scale).runs)


def names_of(bench: Workbench, scale: str = "demo") -> dict[str, str]:
    return {run.id: f"{run.role}/{run.label}" for run in bench.plan(scale).runs.values()}


def names(repository: Path, scale: str = "demo") -> dict[str, str]:
    return names_of(Workbench(repository), scale)


class TestSharing:
    @pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
    def test_a_pre_training_that_both_tables_need_stands_once(self, repository: Path, scale: str) -> None:
        tables = Workbench(repository).plan(scale).tables
        main, steps = (
            {run.id for each in tables[name].predictions for run in each.upstream() if run.role == "pretrain"}
            for name in ("memo/main_bsds", "memo/ablation_reveal_steps")
        )
        assert len(main) == 2  # MEMO and the one-shot network
        assert len(steps) == 1
        assert steps < main

    def test_the_same_prediction_in_two_tables_is_one_run(self, repository: Path) -> None:
        tables = Workbench(repository).plan("demo").tables
        main = next(row for row in tables["memo/main_bsds"].rows if row.key == "memo")
        steps = next(row for row in tables["memo/ablation_reveal_steps"].rows if row.key == "locmax,10")
        assert main.runs[0].predict.folder == steps.runs[0].predict.folder

    def test_scales_share_what_was_fetched_and_nothing_else(self, repository: Path) -> None:
        bench = Workbench(repository)
        shared = set(bench.plan("mini").runs) & set(bench.plan("paper").runs)
        assert {bench.plan("mini").runs[each].stage for each in shared} == {"fetch"}


class TestIdentity:
    def test_plans_are_the_same_every_time(self, repository: Path) -> None:
        assert ids(repository) == ids(repository)

    def test_a_new_matrix_value_adds_its_runs_and_changes_no_other(self, repository: Path) -> None:
        before, table_before = names(repository), Workbench(repository).plan("demo").tables
        change(repository, STEPS, "predict.steps: [1, 5, 10, full]", "predict.steps: [1, 5, 7, 10, full]")
        after, table_after = names(repository), Workbench(repository).plan("demo").tables
        assert set(before) < set(after)
        added = sorted(after[each] for each in set(after) - set(before))
        assert len(added) == 3 * 4  # three reveal orders; a prediction and three evaluations each
        assert all("7-g1.4" in name for name in added)
        assert table_before["memo/main_bsds"].id == table_after["memo/main_bsds"].id
        assert table_before["memo/ablation_reveal_steps"].id != table_after["memo/ablation_reveal_steps"].id

    def test_a_changed_fine_tuning_keeps_the_pre_training(self, repository: Path) -> None:
        before, after = names(repository), ids(repository, set={"finetune.learning_rate": 0.002})
        gone = {before[each].split("/")[0] for each in set(before) - after}
        assert gone == {"finetune", "predict", "evaluate"}

    def test_resources_titles_and_terms_do_not_count(self, repository: Path) -> None:
        before = ids(repository, "paper")
        change(repository, "config/recipes/memo_bsds.yaml", "vram_gb: 24", "vram_gb: 80")
        change(repository, "config/datasets/bsds500.yaml", "licence: none stated", "licence: other words")
        change(repository, "config/recipes/memo_bsds.yaml", "title: MEMO on BSDS500", "title: another title")
        assert ids(repository, "paper") == before

    def test_resources_from_the_command_line_do_not_count_either(self, repository: Path) -> None:
        more = {"set": {"pretrain.resources": {"cpus": 8}}}
        tables = Workbench(repository, more).plan("demo").tables
        assert {name: table.id for name, table in tables.items()} == {
            name: table.id for name, table in Workbench(repository).plan("demo").tables.items()
        }

    def test_the_manifest_counts(self, repository: Path) -> None:
        before = names(repository, "paper")
        manifest = repository / "config/datasets/bsds500.sha256"
        manifest.write_text(manifest.read_text().replace("a", "b", 1))
        assert "fetch/bsds500" in {before[each] for each in set(before) - ids(repository, "paper")}

    def test_it_does_not_depend_on_the_folder(self, repository: Path, root: Path) -> None:
        assert ids(repository, "paper") == ids(root, "paper")

    def test_a_seed_is_one_chain_and_shares_what_is_not_random(self, repository: Path) -> None:
        one, three = names(repository), ids(repository, seeds=[0, 1, 2])
        assert set(one) < three
        plan = Workbench(repository, {"seeds": [0, 1, 2]}).plan("demo")
        runs = plan.runs
        needed = {run.id: run for each in plan.tables["memo/main_bsds"].predictions for run in each.upstream()}
        trained = [run.seed for run in needed.values() if run.role == "finetune"]
        assert sorted(filter(None, trained)) == [1, 1, 2, 2]
        # Of each data set, three seeds share the one run; it has none.
        sobel = [run for run in runs.values() if run.settings["method"] == "sobel"]
        assert {run.seed for run in sobel} == {None}
        assert len([run for run in sobel if run.settings["dataset"] == "scenes"]) == 1

    def test_the_stage_version_counts(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from edgebench.plan.methods.memo import MemoPredict

        before = names(repository)
        monkeypatch.setattr(MemoPredict, "VERSION", 99)
        gone = {before[each].split("/")[0] for each in set(before) - ids(repository)}
        assert gone == {"predict", "evaluate"}


class TestMistakes:
    """Every message names the file, the key and the nearest right one."""

    def explain(self, repository: Path, scale: str = "demo", **config: object) -> str:
        def plan() -> None:
            bench = Workbench(repository, dict(config))
            bench.check_overrides()
            _ = bench.plan(scale).runs
            bench.plan(scale).targets()

        with pytest.raises(ConfigError) as error:
            plan()
        return str(error.value)

    def test_unknown_key_of_an_experiment(self, repository: Path) -> None:
        change(repository, MAIN, "columns:", "colums:")
        message = self.explain(repository)
        assert MAIN in message
        assert "'colums'" in message
        assert "'columns'" in message

    def test_misspelled_setting_in_a_matrix(self, repository: Path) -> None:
        change(repository, STEPS, "predict.reveal: [locmax", "predict.revael: [locmax")
        message = self.explain(repository)
        assert STEPS in message or "ablation_reveal_steps" in message
        assert "revael" in message
        assert "reveal" in message

    def test_wrong_case_in_a_recipe(self, repository: Path) -> None:
        change(repository, "config/recipes/memo_bsds.yaml", "lora_rank: 8", "LoRA_rank: 8")
        message = self.explain(repository)
        assert "config/recipes/memo_bsds.yaml" in message
        assert "'LoRA_rank'" in message
        assert "'lora_rank'" in message

    def test_a_scale_may_not_touch_the_method(self, repository: Path) -> None:
        change(repository, "config/scales/demo.yaml", "predict: {batch: 8", "predict: {guidance: 3, batch: 8")
        message = self.explain(repository)
        assert "config/scales/demo.yaml" in message
        assert "'predict.guidance'" in message

    def test_a_scale_with_a_misspelled_key(self, repository: Path) -> None:
        change(repository, "config/scales/demo.yaml", "predict: {batch: 8", "predict: {bacth: 8")
        message = self.explain(repository)
        assert "config/scales/demo.yaml" in message
        assert "'batch'" in message

    def test_a_scale_must_not_level_the_rows(self, repository: Path) -> None:
        change(repository, STEPS, "predict.steps: [1, 5, 10, full]", "pretrain.steps: [1, 5, 10]")
        change(repository, STEPS, "predict.steps: full}", "pretrain.steps: 10}")
        change(repository, STEPS, "predict.steps: 1}", "pretrain.steps: 1}")
        text = yaml.safe_load((repository / STEPS).read_text())
        text |= {"published": {}, "claims": [], "row": ""}
        (repository / STEPS).write_text(yaml.safe_dump(text))
        assert "pretrain.steps" in self.explain(repository)

    @pytest.mark.parametrize(
        ("file", "old", "new", "wanted"),
        [
            (MAIN, "recipe: memo_bsds\n", "recipe: memo_bsd\n", "'memo_bsds'"),
            (MAIN, "protocol: [bsds_seval", "protocol: [bsds_sevall", "'bsds_seval'"),
            (MAIN, "columns: [seval_ods", "columns: [seval_odds", "'seval_ods'"),
            (MAIN, "figures: [precision_recall", "figures: [precison_recall", "'precision_recall'"),
            (MAIN, "memo.ac > oneshot.ac", "mem0.ac > oneshot.ac", "'memo'"),
            (MAIN, 'variant: "C*"', 'variant: "D*"', "C*"),
            (MAIN, "title:", "title: twice\ntitle:", "appears twice"),
            (STEPS, '"locmax,5": {', '"locmax,4": {', "'locmax,5'"),
            ("config/recipes/memo_bsds.yaml", "start: pretrain", "start: pretrian", "'pretrain'"),
            ("config/recipes/memo_bsds.yaml", "method: mask_edges", "method: mask_edge", "'mask_edges'"),
            ("config/recipes/memo_bsds.yaml", "split: trainval", "split: trainvall", "'trainval'"),
            ("config/scales/demo.yaml", "bsds500: scenes", "bsds500: scene", "'scenes'"),
            ("config/scales/demo.yaml", "    pretrain:\n", "    pretrian:\n", "'pretrain'"),
            ("config/datasets/scenes.yaml", "layout:", "Layout:", "'layout'"),
        ],
    )
    def test_named_with_the_nearest(self, repository: Path, file: str, old: str, new: str, wanted: str) -> None:
        change(repository, file, old, new)
        message = self.explain(repository)
        assert wanted in message
        assert "config/" in message

    def test_a_value_out_of_range(self, repository: Path) -> None:
        change(repository, "config/recipes/memo_bsds.yaml", "steps: 64000", "steps: -1")
        message = self.explain(repository, "paper")
        assert "config/recipes/memo_bsds.yaml" in message
        assert "'steps' is -1" in message

    def test_command_line(self, repository: Path) -> None:
        assert "'finetune'" in self.explain(repository, set={"fintune.steps": 3})
        assert "steps" in self.explain(repository, set={"finetune.step": 3})

    @pytest.mark.parametrize(
        ("change", "wanted"),
        [
            ({"finetune.ema_start": 10**6}, "ema_start 1000000 is not below steps"),
            ({"finetune.warm_start_steps": 10**6}, "warm_start_steps"),
            ({"finetune.crop": 50}, "multiple of 8"),
            ({"finetune.preset": "mini"}, "Give both the same"),
            ({"predict.low": 0.9}, "above high"),
            ({"finetune.steps": "[1"}, "not valid YAML"),
        ],
    )
    def test_found_before_hours_of_training(self, repository: Path, change: dict, wanted: str) -> None:
        assert wanted in self.explain(repository, set=change)

    @pytest.mark.parametrize("line", ["device: cpu, guidance: 3.0", "devise: cpu"])
    def test_what_a_scale_sets_for_every_run_is_checked_too(self, repository: Path, line: str) -> None:
        change(repository, "config/scales/demo.yaml", "every: {device: cpu", f"every: {{{line}")
        assert "config/scales/demo.yaml: every" in self.explain(repository)

    def test_the_command_line_is_above_the_scale(self, repository: Path) -> None:
        runs = Workbench(repository, {"set": {"finetune.device": "cuda"}}).plan("demo").runs.values()
        assert {run.settings["device"] for run in runs if run.role == "finetune"} == {"cuda"}

    def test_what_tells_rows_apart_stays(self, repository: Path) -> None:
        tables = Workbench(repository, {"set": {"predict.steps": 3}}).plan("demo").tables
        main = {row.key: row.runs[0].predict.settings.get("steps") for row in tables["memo/main_bsds"].rows if row.runs}
        assert (main["memo"], main["memo_full"]) == (3, "full")
        assert tables["memo/main_bsds"].overrides == {"predict.steps": 3}
        assert tables["memo/ablation_reveal_steps"].overrides == {}  # every row has steps of its own

    def test_tables_without_the_key_are_not_changed(self, repository: Path) -> None:
        tables = Workbench(repository, {"set": {"predict.tta": "flip", "pretrain.batch": 4}}).plan("demo").tables
        assert tables["diffdis/main_dis5k"].overrides == {"predict.tta": "flip"}
        assert tables["diffdis/tta"].overrides == {}  # every row has its own
        assert tables["memo/main_bsds"].overrides == {"pretrain.batch": 4}
        assert tables["memo/main_bsds"].spec()["overrides"] == {"pretrain.batch": 4}

    def test_null_takes_the_default(self, repository: Path) -> None:
        for null in (None, "null"):
            runs = Workbench(repository, {"set": {"predict.limit": null}}).plan("demo").runs.values()
            assert {run.settings["limit"] for run in runs if run.role == "predict"} == {None}

    def test_a_change_reaches_the_runs_that_have_the_key(self, repository: Path) -> None:
        """`predict` is MEMO in one recipe and Sobel in another; only the former has borders to choose."""
        before, after = names(repository), names_of(Workbench(repository, {"set": {"predict.compat": "native"}}))
        gone = {before[each] for each in set(before) - set(after)}
        assert any("memo-scenes-locmax10" in name for name in gone)
        assert not any("sobel" in name for name in gone)

    def test_unknown_scale(self, repository: Path) -> None:
        assert "'demo'" in self.explain(repository, "demmo")

    def test_labels_of_other_images(self, repository: Path) -> None:
        message = self.explain(repository, set={"synthesise.dataset": "scenes"})
        assert "labels" in message

    def test_a_circle(self, repository: Path) -> None:
        assert "circle" in self.explain(repository, set={"finetune.start": "finetune"})


def test_every_experiment_plans_at_every_scale(root: Path) -> None:
    bench = Workbench(root)
    for scale in bench.names("scales"):
        for name, table in bench.plan(scale).tables.items():
            assert table.evaluations, name


class TestTablesOfAScale:
    def test_a_scale_makes_those_that_it_lists_and_plans_all(self, repository: Path) -> None:
        plan = Workbench(repository).plan("demo")
        assert plan.shown == yaml.safe_load((repository / "config/scales/demo.yaml").read_text())["tables"]
        assert set(plan.tables) == set(Workbench(repository).names("experiments"))

    def test_without_a_list_it_makes_all(self, repository: Path) -> None:
        plan = Workbench(repository).plan("paper")
        assert plan.shown == sorted(plan.tables)

    def test_a_change_that_makes_one_impossible_leaves_the_others(self, repository: Path) -> None:
        """Real data alone warm up for longer than the whole short training."""
        bench = Workbench(repository, {"set": {"finetune.steps": 500}})
        upstream = bench.find_table("mini", "memo/main_bsds").predictions[0].upstream()
        assert [run.settings["steps"] for run in upstream if run.role == "finetune"] == [500]
        with pytest.raises(ConfigError, match="warm_start_steps 2000 is not below steps 500"):
            bench.find_table("mini", "memo/ablation_training_data")

    def test_an_unknown_table_is_named(self, repository: Path) -> None:
        change(repository, "config/scales/demo.yaml", "memo/main_bsds", "memo/main_bsd")
        with pytest.raises(ConfigError, match=r"demo.yaml.*memo/main_bsd'.*memo/main_bsds"):
            Workbench(repository).plan("demo")


class TestCheckpoints:
    def test_a_field_that_names_a_checkpoint_becomes_an_input(self, repository: Path) -> None:
        pretrain = next(run for run in Workbench(repository).plan("paper").runs.values() if run.role == "pretrain")
        fetched = pretrain.inputs["dino_weights"]
        assert (fetched.stage, fetched.label) == ("fetch", "dinov2_with_registers_base")
        assert "dino_weights" not in pretrain.settings

    def test_every_definition_can_be_planned(self, root: Path) -> None:
        bench = Workbench(root)
        runs = {name: bench.checkpoint_runs(name) for name in bench.names("checkpoints")}
        released = {name: made[1].settings["preset"] for name, made in runs.items() if len(made) == 2}
        early_and_late = ("memo_laion_early", "memo_laion_late", "memo_bsds_early", "memo_bsds_late", "memo_biped_late")
        assert released == {
            **dict.fromkeys(early_and_late, "default"),
            **dict.fromkeys(("memo_laion_tiny", "memo_biped_tiny"), "tiny"),
            "diffdis_released": "full",
        }
        assert len({made[0].id for made in runs.values()}) == len(runs)

    def test_presets_without_dino_need_none(self, repository: Path) -> None:
        runs = Workbench(repository).plan("demo").runs.values()
        assert not any("dino_weights" in run.inputs for run in runs)

    def test_a_fetch_run_is_found_by_its_name(self, repository: Path) -> None:
        bench = Workbench(repository)
        run = bench.checkpoint_run("dinov2_small")
        assert bench.find_run(run.name) == run

    @pytest.mark.parametrize(
        ("old", "new", "same"),
        [
            ("licence: Apache-2.0", "licence: another", True),
            ("bytes: 88_000_000", "bytes: 88_000_001", True),
            ("repo: facebook/dinov2-small", "repo: facebook/dinov2-small, revision: v2", False),
            ("bytes: 88_000_000", "bytes: 88_000_000\nfiles: {model.safetensors: {sha256: abcd1234}}", False),
        ],
    )
    def test_identity_is_what_the_files_hold(self, repository: Path, old: str, new: str, same: bool) -> None:
        before = Workbench(repository).checkpoint_run("dinov2_small").id
        change(repository, "config/checkpoints/dinov2_small.yaml", old, new)
        assert (Workbench(repository).checkpoint_run("dinov2_small").id == before) is same

    def test_unknown_checkpoint_names_the_nearest(self, repository: Path) -> None:
        with pytest.raises(ConfigError, match=r"'pretrain.dino_weights' is 'dinov2_smal'.*'dinov2_small'"):
            Workbench(repository, {"set": {"pretrain.dino_weights": "dinov2_smal"}}).plan("paper").targets()

    def test_dino_weights_that_are_not_needed_are_refused(self, repository: Path) -> None:
        with pytest.raises(ConfigError, match="dino_weights must be null: starts from other weights"):
            Workbench(repository, {"set": {"finetune.dino_weights": "dinov2_small"}}).plan("paper").targets()


def weights_of(bench: Workbench, scale: str, table: str, key: str) -> Run:
    rows = bench.plan(scale).tables[table].rows
    return next(row for row in rows if row.key == key).runs[0].predict.inputs["weights"]


class TestPull:
    @pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
    def test_released_weights_take_the_place_of_training(self, repository: Path, scale: str) -> None:
        bench = Workbench(repository, {"checkpoints": "pull"})
        run = weights_of(bench, scale, "memo/main_bsds", "memo")
        assert (run.stage, run.role, run.label, run.scale) == ("train", "released", "memo_bsds_early", "")
        assert [each.label for each in run.upstream()] == ["memo_bsds_early"]
        assert bench.find_run(run.name) == run
        assert "released" in bench.roles("train").split("|")

    def test_the_table_says_so(self, repository: Path) -> None:
        notes = Workbench(repository, {"checkpoints": "pull"}).plan("demo").tables["memo/main_bsds"].spec()["notes"]
        said = [note for note in notes if "not trained here: memo_bsds_early" in note]
        assert len(said) == 1
        assert "MEMO, 10 steps; MEMO, full steps" in said[0]
        assert "One-shot" not in said[0]
        built = Workbench(repository).plan("demo").tables["memo/main_bsds"].spec()["notes"]
        assert not [note for note in built if "released" in note]

    def test_another_recipe_made_of_it_is_trained(self, repository: Path) -> None:
        run = weights_of(Workbench(repository, {"checkpoints": "pull"}), "paper", "memo/main_bsds", "oneshot")
        assert run.role == "finetune"
        assert run.inputs["start"].role == "pretrain"

    def test_a_row_that_changes_the_fine_tuning_starts_from_released_weights(self, repository: Path) -> None:
        change(repository, MAIN, "rows:\n", "rows:\n  - {key: other, label: Other, set: {finetune.lora_rank: 4}}\n")
        bench = Workbench(repository, {"checkpoints": "pull"})
        run = weights_of(bench, "paper", "memo/main_bsds", "other")
        assert (run.role, run.inputs["start"].label) == ("finetune", "memo_laion_early")
        # A smaller network cannot start from the authors' weights.
        assert weights_of(bench, "demo", "memo/main_bsds", "other").inputs["start"].role == "pretrain"

    def test_a_change_of_what_a_run_starts_from_makes_its_checkpoint_void(self, repository: Path) -> None:
        bench = Workbench(repository, {"checkpoints": "pull", "set": {"pretrain.steps": 64001}})
        run = weights_of(bench, "paper", "memo/main_bsds", "memo")
        assert (run.role, run.inputs["start"].role) == ("finetune", "pretrain")

    def test_a_row_may_name_another_checkpoint(self, repository: Path) -> None:
        row = "  - {key: late, label: Late, set: {pretrain.steps: 224000, finetune.released: memo_bsds_late}}\n"
        change(repository, MAIN, "rows:\n", f"rows:\n{row}")
        late = weights_of(Workbench(repository, {"checkpoints": "pull"}), "paper", "memo/main_bsds", "late")
        assert late.label == "memo_bsds_late"

    def test_naming_one_changes_no_identity_of_what_is_built(self, repository: Path) -> None:
        before = ids(repository)
        change(repository, "config/recipes/memo_bsds.yaml", "released: memo_bsds_early", "released: memo_bsds_late")
        assert ids(repository) == before

    @pytest.mark.parametrize("scale", ["demo", "mini", "paper"])
    def test_a_row_may_be_the_released_weights_whatever_is_built(self, repository: Path, scale: str) -> None:
        chosen = "{finetune: {stage: train, method: memo_released, checkpoint: memo_bsds_late}}"
        change(repository, MAIN, "rows:\n", f"rows:\n  - {{key: late, label: Late, set: {chosen}}}\n")
        run = weights_of(Workbench(repository), scale, "memo/main_bsds", "late")
        assert run == Workbench(repository).released_run("memo_bsds_late")
        assert weights_of(Workbench(repository), scale, "memo/main_bsds", "memo").role == "finetune"

    def test_only_checkpoints_of_a_method_can_be_released_weights(self, repository: Path) -> None:
        change(repository, "config/recipes/memo_bsds.yaml", "released: memo_bsds_early", "released: dinov2_small")
        with pytest.raises(ConfigError, match=r"dinov2_small.yaml: format 'transformers'"):
            Workbench(repository, {"checkpoints": "pull"}).plan("paper")

    def test_an_unknown_one_names_the_nearest(self, repository: Path) -> None:
        change(repository, "config/recipes/memo_bsds.yaml", "released: memo_bsds_early", "released: memo_bsds_earl")
        with pytest.raises(ConfigError, match=r"'finetune.released' is 'memo_bsds_earl'.*'memo_bsds_early'"):
            Workbench(repository).plan("paper")


class TestIdleSettings:
    """What means nothing beside the other settings makes no other run."""

    @pytest.mark.parametrize(
        ("change", "role"),
        [
            ({"predict.schedule": "exponential"}, "locmax10"),
            ({"predict.confidence_threshold": 0.9}, "topk10"),
            ({"synthesise.points_per_side": [32]}, "mask_edges"),
            ({"pretrain.dino": "trainable"}, "pretrain"),
        ],
    )
    def test_no_other_run(self, repository: Path, change: dict, role: str) -> None:
        before, after = names(repository), names_of(Workbench(repository, {"set": change}))
        kept = {each for each, name in before.items() if role in name}
        assert kept
        assert kept <= set(after)

    def test_seeds_share_what_is_not_random(self, repository: Path) -> None:
        plan = Workbench(repository, {"seeds": [0, 1], "checkpoints": "pull"}).plan("demo")
        for key, runs in (("locmax,10", 1), ("random,10", 2)):
            (row,) = [row for row in plan.tables["memo/ablation_reveal_steps"].rows if row.key == key]
            assert len({each.predict.id for each in row.runs}) == runs


def test_claims_are_not_made_of_networks_of_different_sizes(repository: Path) -> None:
    bench = Workbench(repository, {"checkpoints": "pull"})
    mixed, alike = (bench.plan(scale).tables["memo/main_bsds"].spec() for scale in ("mini", "paper"))
    assert (mixed["claims"], any("different sizes" in note for note in mixed["notes"])) == ([], True)
    assert alike["claims"]
