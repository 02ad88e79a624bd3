"""Diffusion backbones from folders, and the empty text beside diffusers' own pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import (
    FluxPipeline,
    PixArtAlphaPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace import empty_text as module
from edgebench.methods.trace.backbone import Ddpm
from edgebench.methods.trace.capture import attention_map
from edgebench.methods.trace.diffusion import DiffusionBackbone, FamilyName
from edgebench.methods.trace.diffusion_loading import load_backbone
from edgebench.methods.trace.diffusion_random import NETWORKS, random_backbone
from edgebench.methods.trace.empty_text import KEPT, empty_text
from edgebench.methods.trace.opening import backbone_note, open_backbone
from tests.unit.methods.diffusion_folders import encoders, save_folder, t5, tokenizers
from tests.unit.methods.trace_encoders import random_network, save

torch.set_num_threads(1)
FAMILIES = get_args(FamilyName)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        save_folder(folder / family, family, shard="20KB")
    return folder


def pictures(size: int) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_saved_is_loaded(folders: Path, family: FamilyName) -> None:
    made, loaded = random_backbone(family), load_backbone(folders / family)
    assert len(list((folders / family / made.family.part).glob("*.safetensors"))) > 1  # in shards
    assert (loaded.family, loaded.size if family != "flux1" else 64) == (made.family, made.size)
    assert [block.name for block in loaded.blocks] == [block.name for block in made.blocks]
    x = made.encode(pictures(64))
    torch.testing.assert_close(loaded.encode(pictures(64)), x)
    made.text = loaded.text
    with torch.no_grad():
        loaded.size = made.size = 64
        torch.testing.assert_close(loaded.answer(x, 399), made.answer(x, 399))
        torch.testing.assert_close(loaded.decode(x), made.decode(x))
    assert made.schedule is not None and loaded.schedule is not None  # noqa: PT018
    assert torch.equal(loaded.schedule.noised(x, x + 1, 499), made.schedule.noised(x, x + 1, 499))
    half = load_backbone(folders / family, 64, "bf16")
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert half.answer(x, 399).dtype == half.encode(pictures(64)).dtype == torch.float32


def test_pixart_goes_by_the_name_that_its_published_files_have(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "pixart_alpha", tmp_path / "model")
    path = folder / "transformer" / "config.json"
    config = json.loads(path.read_text())
    assert config["norm_type"] == "ada_norm_single"
    path.write_text(json.dumps(config | {"_class_name": "Transformer2DModel"}))
    older, same = load_backbone(folder), load_backbone(folders / "pixart_alpha")
    assert older.family == same.family
    assert all(map(torch.equal, older.network.parameters(), same.network.parameters()))
    path.write_text(json.dumps(config | {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_zero"}))
    with pytest.raises(DataError, match=r"a Transformer2DModel is none of SD1\.5"):
        load_backbone(folder)


@torch.no_grad()
def by_pipeline(family: FamilyName) -> dict[str, Tensor]:
    """The empty text as diffusers' pipeline of the family encodes it."""
    parts: dict[str, Any] = {**encoders(family), **tokenizers(family)}
    vae: Any = None
    if family == "sd15":
        pipeline: Any = StableDiffusionPipeline(
            **parts, vae=vae, unet=vae, scheduler=vae, safety_checker=None, feature_extractor=vae
        )
        return {"hidden": pipeline.encode_prompt("", "cpu", 1, False)[0]}
    if family == "sdxl":
        pipeline = StableDiffusionXLPipeline(**parts, vae=vae, unet=vae, scheduler=vae)
        hidden, _, pooled, _ = pipeline.encode_prompt("", device="cpu", do_classifier_free_guidance=False)
        return {"hidden": hidden, "pooled": pooled}
    network: Any = random_backbone(family).network
    if family == "pixart_alpha":
        parts["text_encoder"].bfloat16()
        pipeline = PixArtAlphaPipeline(**parts, vae=vae, transformer=network, scheduler=vae)
        hidden, mask, _, _ = pipeline.encode_prompt("", do_classifier_free_guidance=False, device="cpu")
        return {"hidden": hidden.float(), "mask": mask}
    if family == "sd35":
        parts["text_encoder_3"].bfloat16()
        pipeline = StableDiffusion3Pipeline(**parts, vae=vae, transformer=network, scheduler=vae)
        hidden, _, pooled, _ = pipeline.encode_prompt("", "", "", do_classifier_free_guidance=False, device="cpu")
        return {"hidden": hidden, "pooled": pooled}
    parts["text_encoder_2"].bfloat16()
    pipeline = FluxPipeline(**parts, vae=vae, transformer=network, scheduler=vae)
    hidden, pooled, _ = pipeline.encode_prompt("", "", device="cpu")
    return {"hidden": hidden.float(), "pooled": pooled}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_empty_text_is_that_of_the_pipeline(folders: Path, family: FamilyName, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / family, tmp_path / "model")
    (folder / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": False}))
    text, how = empty_text(folder, family, NETWORKS["tiny"][family])
    expected = by_pipeline(family)
    assert how == "encoded"
    assert text.keys() == expected.keys()
    for name, each in expected.items():
        torch.testing.assert_close(text[name], each.detach(), atol=1e-6, rtol=1e-5)
    for name, tokenizer in tokenizers(family).items():
        tokenizer.save_pretrained(folder / name)
    (folder / KEPT).unlink()
    again, _ = empty_text(folder, family, NETWORKS["tiny"][family])
    assert all(torch.equal(again[name], text[name]) for name in text)


def test_wrong_marks_in_a_configuration_do_not_matter(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "flux1", tmp_path / "model")
    path = folder / "text_encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": 2, "bos_token_id": 0}))
    text, _ = empty_text(folder, "flux1", NETWORKS["tiny"]["flux1"])
    torch.testing.assert_close(text["pooled"], by_pipeline("flux1")["pooled"].detach())
    schnell, _ = empty_text(folder, "flux1", NETWORKS["tiny"]["flux1"] | {"guidance_embeds": False})
    assert (text["hidden"].shape, schnell["hidden"].shape) == ((1, 512, 12), (1, 256, 12))


def test_sdxl_takes_zeros_unless_told_otherwise(folders: Path) -> None:
    backbone = load_backbone(folders / "sdxl")
    assert backbone.note == {"family": "sdxl", "empty_text": "zeros"}
    assert backbone.text["hidden"].shape == (1, 77, 12)
    assert backbone.text["pooled"].shape == (1, 10)
    assert not any(each.any() for each in backbone.text.values())
    assert backbone_note(backbone) == {"backbone": backbone.note}


def test_text_encoders_are_loaded_once_ever(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(folders / "sd35", tmp_path / "model", ignore=shutil.ignore_patterns(KEPT))
    loads: list[str] = []
    ours = module.load_part

    def counted(part: Path, *arguments: Any) -> Any:
        loads.append(part.name)
        return ours(part, *arguments)

    monkeypatch.setattr(module, "load_part", counted)
    first = load_backbone(folder)
    assert loads == ["text_encoder", "text_encoder_2", "text_encoder_3"]
    again = load_backbone(folder)
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        shutil.rmtree(folder / name)
    without = load_backbone(folder)
    assert len(loads) == 3
    for other in (again, without):
        assert other.note == {"family": "sd35", "empty_text": "encoded"}
        assert all(torch.equal(first.text[name], other.text[name]) for name in first.text)


def test_other_encoders_are_asked_anew(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "sd35", tmp_path / "model", ignore=shutil.ignore_patterns(KEPT, "*_3"))
    without = load_backbone(folder)
    assert without.note["empty_text"] == "encoded, zeros for T5"
    assert without.text["hidden"].shape == (1, 77 + 256, 12)
    assert not without.text["hidden"][:, 77:].any()
    shutil.copytree(folders / "sd35" / "text_encoder_3", folder / "text_encoder_3")
    complete = load_backbone(folder)
    assert complete.note["empty_text"] == "encoded"
    assert complete.text["hidden"][:, 77:].any()
    (folder / KEPT).write_bytes(b"damaged")
    assert torch.equal(load_backbone(folder).text["hidden"], complete.text["hidden"])


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(folders / "sd15", tmp_path / "model", ignore=shutil.ignore_patterns(KEPT))
    (folder / KEPT).mkdir()
    assert load_backbone(folder).text["hidden"].shape == (1, 77, 12)


def changed(folders: Path, tmp_path: Path, family: str, file: str, **changes: Any) -> Path:
    folder = shutil.copytree(folders / family, tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("family", "file", "changes", "words"),
    [
        ("sd15", "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "'v_prediction', not the n"),
        ("sd15", "scheduler/scheduler_config.json", {"beta_schedule": "cosine"}, "no known schedule of noise"),
        ("sd15", "unet/config.json", {"addition_embed_type": "image"}, "UNet2DConditionModel is none of SD1.5"),
        ("flux1", "transformer/config.json", {"_class_name": "AuraFlow"}, "a AuraFlow is none of SD1.5"),
    ],
)
def test_other_models_are_refused(
    folders: Path, tmp_path: Path, family: str, file: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as error:
        load_backbone(changed(folders, tmp_path, family, file, **changes))
    assert words in str(error.value)


def test_what_does_not_belong_together_is_refused(folders: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folders / "pixart_alpha", tmp_path / "model", ignore=shutil.ignore_patterns(KEPT))
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(DataError, match="text_encoder: no such folder"):
        load_backbone(folder)
    t5(8).save_pretrained(folder / "text_encoder")
    with pytest.raises(DataError, match=r"\(hidden\) has width 8, the denoiser takes 12"):
        load_backbone(folder)


def test_no_model_at_all(tmp_path: Path) -> None:
    for load in (load_backbone, open_backbone):
        with pytest.raises(DataError, match="holds n"):
            load(tmp_path)


def test_whatever_a_folder_holds_is_opened(folders: Path, tmp_path: Path) -> None:
    encoder = open_backbone(save(random_network("dinov2"), "dinov2", tmp_path / "dino"), reads="features")
    assert encoder.schedule is None
    assert backbone_note(encoder)["backbone"]["reads"] == "features"
    assert isinstance(open_backbone(folders / "sd15"), DiffusionBackbone)
    for wrong in ({"reads": "features"}, {"layers": "language"}):
        with pytest.raises(ConfigError, match="is no encoder, which alone takes these"):
            open_backbone(folders / "sd15", **wrong)  # type: ignore[arg-type]


def test_sizes_that_do_not_fit(folders: Path) -> None:
    with pytest.raises(ConfigError, match="size 50 must be a multiple of 8 for sdxl, 48 for example"):
        open_backbone(folders / "sdxl", 50)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_sizes_work(folders: Path, family: FamilyName) -> None:
    backbone = load_backbone(folders / family, 32)
    found = attention_map(backbone, backbone.encode(pictures(32)), 99)
    tokens = {"sd15": 256, "sdxl": 64}.get(family, 64)
    assert found.shape == (1, tokens, tokens)


def test_pixart_takes_the_first_half_of_the_channels(folders: Path) -> None:
    backbone: Any = load_backbone(folders / "pixart_alpha", 64)
    x = backbone.encode(pictures(64))
    text = backbone.text
    with torch.no_grad():
        said = backbone.network(
            x,
            encoder_hidden_states=text["hidden"],
            encoder_attention_mask=text["mask"],
            timestep=torch.tensor([399]),
            added_cond_kwargs={"resolution": torch.tensor([[64.0, 64.0]]), "aspect_ratio": torch.tensor([[1.0]])},
        ).sample
        assert said.shape[1] == 8
        torch.testing.assert_close(backbone.answer(x, 399), said[:, :4])


def test_schedules_are_those_of_the_spec() -> None:
    stable, pixart = Ddpm.scaled_linear(), Ddpm.linear()
    for schedule, known in (
        (stable, {0: 0.99915, 99: 0.89546, 199: 0.75524, 499: 0.27767, 999: 0.00466}),
        (pixart, {0: 0.9999, 99: 0.897, 299: 0.396, 499: 0.079}),
    ):
        for tau, kept in known.items():
            assert float(schedule.kept[tau]) == pytest.approx(kept, abs=6e-4)


def test_full_size_models_have_the_published_sizes() -> None:
    from accelerate import init_empty_weights

    from edgebench.methods.trace.diffusion import FAMILIES as KINDS
    from edgebench.methods.trace.diffusion import _blocks

    counts = {"sd15": 859.5, "sdxl": 2567.5, "pixart_alpha": 611.3, "sd35": 8056.6, "flux1": 11901.4}
    blocks = {"sd15": 16, "sdxl": 70, "pixart_alpha": 28, "sd35": 38, "flux1": 57}
    for family in FAMILIES:
        with init_empty_weights(include_buffers=False):
            network = KINDS[family].network.from_config(NETWORKS["full"][family])
        millions = sum(each.numel() for each in network.parameters()) / 1e6
        assert millions == pytest.approx(counts[family], abs=0.1), family
        assert len(_blocks(KINDS[family], network, 0)) == blocks[family]


def test_flux_packs_squares_as_its_pipeline_does() -> None:
    from edgebench.methods.trace.diffusion import packed, unpacked

    latents = torch.randn(2, 16, 8, 12)
    ours = packed(latents)
    assert torch.equal(ours, FluxPipeline._pack_latents(latents, 2, 16, 8, 12))
    assert torch.equal(unpacked(ours, 4, 6), latents)


def test_flux_is_asked_as_by_its_pipeline(folders: Path) -> None:
    backbone: DiffusionBackbone = load_backbone(folders / "flux1", 64)
    x = backbone.encode(pictures(64))
    network: Any = backbone.network
    ids = FluxPipeline._prepare_latent_image_ids(1, 16, 16, "cpu", torch.float32)
    with torch.no_grad():
        said = network(
            hidden_states=FluxPipeline._pack_latents(x, 1, 16, 32, 32),
            timestep=torch.tensor([0.399]),
            guidance=torch.tensor([1.0]),
            pooled_projections=backbone.text["pooled"],
            encoder_hidden_states=backbone.text["hidden"],
            txt_ids=torch.zeros(512, 3),
            img_ids=ids,
        ).sample
    torch.testing.assert_close(backbone.answer(x, 399), FluxPipeline._unpack_latents(said, 64, 64, 2))
