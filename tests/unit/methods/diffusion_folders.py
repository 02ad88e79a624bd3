"""Small random diffusion models in folders of diffusers' layout, with text encoders and tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from edgebench.methods.trace.diffusion import FamilyName
from edgebench.methods.trace.diffusion_random import random_backbone

WORDS = 20


def clip(width: int, projection: int | None = None) -> Any:
    """A CLIP text model; with a projection where one is given."""
    config = CLIPTextConfig(
        vocab_size=WORDS,
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=projection or 8,
        eos_token_id=WORDS - 1,
        bos_token_id=WORDS - 2,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def t5(width: int) -> Any:
    """The encoder of a T5."""
    return T5EncoderModel(T5Config(vocab_size=WORDS, d_model=width, d_kv=4, d_ff=16, num_layers=2, num_heads=2)).eval()


def clip_tokenizer(padding: str | None = None) -> Any:
    """A tokenizer of CLIP's kind, whose vocabulary begins with `!` and ends with the marks for beginning and end."""
    words = ["!", *(f"w{number}" for number in range(WORDS - 3)), "<|startoftext|>", "<|endoftext|>"]
    more = {"pad_token": padding} if padding else {}
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77, **more
    )


def t5_tokenizer() -> Any:
    """A tokenizer that ends every text with T5's mark."""
    made = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def encoders(family: FamilyName) -> dict[str, Any]:
    """Text encoders by folder, of the widths that the small denoiser of the family takes."""
    torch.manual_seed(1)
    return {
        "sd15": lambda: {"text_encoder": clip(12)},
        "sdxl": lambda: {"text_encoder": clip(4), "text_encoder_2": clip(8, 10)},
        "pixart_alpha": lambda: {"text_encoder": t5(12)},
        "sd35": lambda: {"text_encoder": clip(4, 4), "text_encoder_2": clip(8, 6), "text_encoder_3": t5(12)},
        "flux1": lambda: {"text_encoder": clip(10), "text_encoder_2": t5(12)},
    }[family]()


def tokenizers(family: FamilyName) -> dict[str, Any]:
    """Tokenizers by folder; the second CLIP's fills up with `!`."""
    return {
        "sd15": lambda: {"tokenizer": clip_tokenizer()},
        "sdxl": lambda: {"tokenizer": clip_tokenizer(), "tokenizer_2": clip_tokenizer("!")},
        "pixart_alpha": lambda: {"tokenizer": t5_tokenizer()},
        "sd35": lambda: {
            "tokenizer": clip_tokenizer(),
            "tokenizer_2": clip_tokenizer("!"),
            "tokenizer_3": t5_tokenizer(),
        },
        "flux1": lambda: {"tokenizer": clip_tokenizer(), "tokenizer_2": t5_tokenizer()},
    }[family]()


def save_folder(folder: Path, family: FamilyName, shard: str = "10GB") -> Path:
    """Write a small random model into `folder`, its denoiser in files of at most `shard`."""
    backbone: Any = random_backbone(family)
    backbone.network.save_pretrained(folder / backbone.family.part, max_shard_size=shard)
    backbone.codec.vae.save_pretrained(folder / "vae")
    for name, encoder in encoders(family).items():
        encoder.save_pretrained(folder / name)
    (folder / "scheduler").mkdir()
    linear = family == "pixart_alpha"
    schedule = {
        "beta_schedule": "linear" if linear else "scaled_linear",
        "beta_start": 0.0001 if linear else 0.00085,
        "beta_end": 0.02 if linear else 0.012,
        "prediction_type": "epsilon",
    }
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({} if backbone.family.flow else schedule))
    return folder
