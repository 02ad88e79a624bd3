"""Checkpoints of diffusion models: what is fetched of a repository is what their loader reads, each weight once."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from edgebench.plan.workbench import Workbench

# Names as they lie in the repositories: beside what is needed, other precisions and the owners' own layout.
SINGLE = ["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"]
SHARDS = ["config.json", "diffusion_pytorch_model.safetensors.index.json"]
SHARDS += [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
ENCODER = ["config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"]
LARGE = ["config.json", "model.safetensors.index.json", "model.safetensors.index.fp16.json"]
LARGE += [f"model{kind}-0000{number}-of-00002.safetensors" for kind in ("", ".fp16") for number in (1, 2)]
VAE = {"vae": SINGLE}
REPOSITORIES: dict[str, dict[str, list[str]]] = {
    "sd15": {"unet": [*SINGLE, "diffusion_pytorch_model.non_ema.safetensors"], "text_encoder": ENCODER, **VAE},
    "sdxl": {"unet": SINGLE, "text_encoder": ENCODER, "text_encoder_2": ENCODER, **VAE},
    "pixart_alpha": {"transformer": SINGLE, "text_encoder": LARGE, **VAE},
    "sd35_large": {
        "transformer": SHARDS,
        "text_encoder": ENCODER,
        "text_encoder_2": ENCODER,
        "text_encoder_3": LARGE,
        **VAE,
    },
    "flux1_dev": {"transformer": SHARDS, "text_encoder": ENCODER, "text_encoder_2": LARGE, **VAE},
}
REPOSITORIES["flux1_schnell"] = REPOSITORIES["flux1_dev"]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_each_weight_once(root: Path, name: str) -> None:
    definition = Workbench(root).checkpoint(name)
    assert definition.format == "diffusers"
    assert definition.source.hub is not None
    files = ["model_index.json", "scheduler/scheduler_config.json", "flux1-dev.safetensors", "ae.safetensors"]
    files += [f"{folder}/{file}" for folder, each in REPOSITORIES[name].items() for file in each]
    patterns = definition.source.hub.patterns
    taken = {file for file in files if any(fnmatchcase(file, pattern) for pattern in patterns)}
    assert all(any(fnmatchcase(file, pattern) for file in files) for pattern in patterns)
    assert not [file for file in taken if any(kind in file for kind in ("fp16", "non_ema", ".bin", "ae.", "flux1"))]
    folders = set(REPOSITORIES[name]) - ({"text_encoder", "text_encoder_2"} if name == "sdxl" else set())
    for folder in folders:
        assert f"{folder}/config.json" in taken
        weights = [file for file in taken if file.startswith(f"{folder}/") and file.endswith(".safetensors")]
        sharded = f"{folder}/model.safetensors.index.json" in taken or any("-of-" in file for file in weights)
        assert len(weights) == (2 if sharded else 1), folder
        assert not sharded or any(file.startswith(f"{folder}/") and file.endswith(".index.json") for file in taken)
