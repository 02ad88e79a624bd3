"""DiffDIS trained by its planned runs: from a fetched model, from scratch, released, killed and resumed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from edgebench.errors import ConfigError, DataError
from edgebench.files import read_json
from edgebench.methods.codec import PatchCodec, VaeCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.predictor import Predictor, PredictSettings
from edgebench.methods.diffdis.presets import PRESETS, NetworkConfig
from edgebench.methods.diffdis.pretrained import backbone_config, empty_text
from edgebench.methods.diffdis.weights import load_weights, trained_size
from edgebench.plan.runs import Run
from edgebench.plan.workbench import Workbench
from edgebench.stages.run import carry_out
from edgebench.training.records import Records
from tests.unit.diffdis_processes import forkserver, free_port
from tests.unit.diffdis_repository import TABLE, draw_discs, make_repository
from tests.unit.methods.stable_diffusion import official, save_model

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"train.size": 32, "train.steps": 4, "train.batch": 2, "train.device": "cpu"}
SMALL |= {"train.learning_rate": 1e-3}


@pytest.fixture
def repository(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Definitions with one table, pictures, and the model `sd_turbo` as the person's own folder."""
    make_repository(tmp_path, root, [{"key": "diffdis", "label": ""}])
    draw_discs(tmp_path / "discs")
    save_model(tmp_path / "turbo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(scale: str = "paper", config: dict[str, Any] | None = None, **changes: Any) -> tuple[Workbench, Run]:
    """The training run of the table, with all that it needs carried out."""
    pulls = bool(config and "checkpoints" in config)  # nothing may be changed then
    small = SMALL if scale == "paper" and not pulls else {}
    bench = Workbench(Path(), {"set": {**small, **changes}, **(config or {})})
    run = bench.find_table(scale, TABLE).rows[0].runs[0].predict.inputs["weights"]
    mirrors = {"dis5k": "discs", "sd_turbo": "turbo", "sd21_v": "turbo_v", "diffdis_released": "released"}
    for each in run.upstream():
        if not Path(each.record).exists():
            fetched = each.settings.get("dataset") or each.settings.get("checkpoint")
            bench.write_spec(each, mirrors[str(fetched)] if each.stage == "fetch" else None, accepted=True)
            carry_out(Path(each.spec_file))
    bench.write_spec(run)
    return bench, run


def carried_out(*given: Any, **changes: Any) -> Path:
    return carry_out(Path(planned(*given, **changes)[1].spec_file))


def test_from_a_fetched_model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = carried_out()
    record = read_json(folder / "run.json")
    assert (record["n_images"], record["steps"]) == (6, 4)
    for each in ("turbo", *(str(path) for path in (repository / "results" / "runs" / "fetch").iterdir())):
        shutil.rmtree(each)  # the weight file needs no other
    network, codec = load_weights(folder / "weights.safetensors")
    assert trained_size(folder / "weights.safetensors") == 32
    assert network.config.channels == (8, 16, 16, 16)
    assert network.config.prediction == "epsilon"
    assert isinstance(codec, VaeCodec)
    assert codec.factor == 2
    found = Predictor(network, codec, PredictSettings(size=32)).predict([torch.zeros(20, 24, 3).byte().numpy()], ["a"])
    assert found[0].mask.shape == (20, 24)


def test_from_a_model_that_predicts_the_velocity(repository: Path) -> None:
    save_model(repository / "turbo_v", "v_prediction")
    sparing = {"train.precision": "bf16", "train.gradient_checkpointing": True, "train.accumulate": 2}
    folder = carried_out(**{"train.backbone": "sd21_v", "train.times": "any"}, **sparing)
    network, codec = load_weights(folder / "weights.safetensors")
    assert network.config.prediction == "v_prediction"
    assert isinstance(codec, VaeCodec)
    stored = load_file(folder / "weights.safetensors")
    assert {each.dtype for each in stored.values() if each.is_floating_point()} == {torch.float32}


def test_random_weights_between_the_same_autoencoder_and_text(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = backbone_config(repository / "turbo", NetworkConfig())
    monkeypatch.setitem(PRESETS, "full", config)
    folder = carried_out(**{"train.backbone": None, "train.steps": 1, "train.learning_rate": 1e-9})
    network, codec = load_weights(folder / "weights.safetensors")
    assert isinstance(codec, VaeCodec)
    assert torch.equal(network.text, empty_text(repository / "turbo"))
    stock = load_file(repository / "turbo" / "unet" / "diffusion_pytorch_model.safetensors")
    assert not torch.allclose(network.unet.conv_out.weight, stock["conv_out.weight"], atol=1e-3)
    monkeypatch.setitem(PRESETS, "full", NetworkConfig((8, 16), (1, 2), (False, False), 1, 4, tokens=2))
    with pytest.raises(DataError, match=r"preset 'full' expects \(1, 2, 1024\)"):
        carried_out(**{"train.backbone": None, "train.learning_rate": 2e-9})


def test_switches_reach_the_network_and_the_code_of_patches_its_file(repository: Path) -> None:
    folder = carried_out("tiny", **{"train.interaction": "concat", "train.injection": False, "train.cutmix": False})
    network, codec = load_weights(folder / "weights.safetensors")
    assert (network.config.interaction, network.config.injection) == ("concat", False)
    assert isinstance(codec, PatchCodec)
    assert codec.channels == PRESETS["small"].latent
    rates = [float(row.split(",")[2]) for row in (folder / "log.csv").read_text().splitlines()[1:]]
    assert rates == pytest.approx([1e-3, 1e-3 * 0.95, 1e-3 * 0.95**32])  # 3 steps stand for 90 epochs


def test_edges_are_those_that_were_drawn(repository: Path) -> None:
    _, run = planned("tiny")
    edges = Path(run.inputs["edge_targets"].folder) / "maps"
    first = load_file(carry_out(Path(run.spec_file)) / "weights.safetensors")
    for path in edges.iterdir():
        with Image.open(path) as image:
            blank = Image.new("L", image.size)
        blank.save(path)
    other = load_file(carry_out(Path(run.spec_file)) / "weights.safetensors")
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())
    (edges / "disc3.png").unlink()
    with pytest.raises(DataError, match=r"disc3\.png: the edge of image disc3 is missing, one of 1 of 6\. Delete the"):
        carry_out(Path(run.spec_file))


def kill_at_save(folder: str, spec_file: str, number: int) -> None:
    """Carry out a run and die right after its checkpoint of this number."""
    os.chdir(folder)
    ours, saved = Records.save, 0

    def save(self: Records, *given: Any) -> None:
        nonlocal saved
        ours(self, *given)
        saved += 1
        if saved == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(Records, "save", save):
        carry_out(Path(spec_file))


@pytest.mark.parametrize("scale", ["tiny", "paper"])
def test_killed_and_resumed_is_undisturbed(repository: Path, scale: str) -> None:
    often = {"runtime": {"checkpoint_minutes": 1e-9}}
    steps = {"train.steps": 5, "train.schedule": "compounding_decay", "train.warmup_steps": 2}
    _, run = planned(scale, often, **steps)
    process = forkserver().Process(target=kill_at_save, args=(str(repository), run.spec_file, 2))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    folder = Path(run.folder)
    assert [path.name for path in (folder / "work").glob("step-*.json")]
    assert not (folder / "weights.safetensors").exists()
    carry_out(Path(run.spec_file))
    resumed = (folder / "weights.safetensors").read_bytes()
    shutil.rmtree(folder)
    carry_out(Path(run.spec_file))
    assert (folder / "weights.safetensors").read_bytes() == resumed


def share(folder: str, spec_file: str, rank: int, port: int) -> None:
    """One of two processes under torchrun."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    os.chdir(folder)
    carry_out(Path(spec_file))


def test_processes_share_a_planned_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"train.accumulate": 2, "train.batch": 2}
    _, run = planned("tiny", **changes)
    alone = load_file(carry_out(Path(run.spec_file)) / "weights.safetensors")  # a finished run is made anew
    port = free_port()
    processes = [
        forkserver().Process(target=share, args=(str(repository), run.spec_file, rank, port)) for rank in range(2)
    ]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0]
    assert sorted(path.name for path in Path(run.folder).iterdir()) == ["log.csv", "run.json", "weights.safetensors"]
    together = load_file(Path(run.folder) / "weights.safetensors")
    counted = "injectors.0.norm.num_batches_tracked"
    assert int(together[counted]) == int(alone[counted]) // 2 > 0  # the first process saw half of the micro-batches
    for name in ("unet.conv_in.weight", "codec.basis"):
        torch.testing.assert_close(together[name], alone[name], rtol=1e-3, atol=1e-4)
    # What is no training is the first process' alone.
    fetch = next(each for each in run.upstream() if each.stage == "fetch")
    before = Path(fetch.record).read_bytes()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    carry_out(Path(fetch.spec_file))
    assert Path(fetch.record).read_bytes() == before


def test_released_weights_are_fetched_and_converted(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = backbone_config(repository / "turbo", NetworkConfig())
    shutil.copytree(repository / "turbo", repository / "released")
    unet = repository / "released" / "unet" / "diffusion_pytorch_model.safetensors"
    state = official(DiffdisNetwork(config).state_dict())
    save_file(state, unet)
    pull = {"checkpoints": "pull"}
    with pytest.raises(DataError, match="nearest to preset"):
        planned(config=pull)
    monkeypatch.setitem(PRESETS, "small", config)
    with pytest.raises(ConfigError, match="preset is 'full', but the weights are those of 'small'"):
        planned(config=pull)
    monkeypatch.setitem(PRESETS, "small", NetworkConfig())
    monkeypatch.setitem(PRESETS, "full", config)
    folder = carried_out("paper", pull)
    record = read_json(folder / "run.json")
    assert record["preset"] == "full"
    assert record["checkpoint"] == "diffdis_released"
    network, codec = load_weights(folder / "weights.safetensors")
    assert torch.equal(network.unet.conv_in.weight, state["conv_in.weight"])
    assert isinstance(codec, VaeCodec)
