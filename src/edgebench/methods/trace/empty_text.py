"""What the text encoders of a diffusion model say to the empty text, computed once and kept beside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from edgebench.errors import DataError, EdgebenchError
from edgebench.files import atomic_path
from edgebench.methods.diffusers_folder import load_part, read_config
from edgebench.methods.trace.diffusion import EmptyText, FamilyName

KEPT = "empty_text.safetensors"
_CLIP_TOKENS = 77
_T5_TOKENS = {"pixart_alpha": 120, "sd35": 256}
_T5_TOKENS_FLUX = {True: 512, False: 256}  # FLUX.1-dev, which takes the guidance as an input, and -schnell
_FIRST, _SECOND, _THIRD = "text_encoder", "text_encoder_2", "text_encoder_3"
_ENCODERS = {
    "sd15": (_FIRST,),
    "sdxl": (_FIRST, _SECOND),
    "pixart_alpha": (_FIRST,),
    "sd35": (_FIRST, _SECOND, _THIRD),
    "flux1": (_FIRST, _SECOND),
}


def empty_text(folder: str | Path, family: FamilyName, network: Mapping[str, Any]) -> tuple[EmptyText, str]:
    """The empty text of the model in `folder`, as diffusers' pipeline of its family would give it to the denoiser.

    It is kept in `empty_text.safetensors` there, so that the text encoders, which may be larger than the denoiser,
    are loaded once ever and can be deleted afterwards. T5 computes in bfloat16, as its models are used.

    Args:
        folder: In diffusers' layout. Tokenizers are not needed: the tokens of an empty text are known.
        family: Of the model.
        network: Configuration of its denoiser.

    Returns:
        The text, float32, on the CPU, and how it came about: `encoded`, `zeros` (SDXL, where `model_index.json` does
        not say `force_zeros_for_empty_prompt: false`) or `encoded, zeros for T5` (SD3.5 without its third encoder).

    Raises:
        DataError: an encoder is missing or damaged.
    """
    folder = Path(folder)
    how = _how(folder, family)
    sources = {"family": family, "how": how, "tokens": _t5_tokens(family, network), "files": _files(folder, family)}
    kept = _read(folder / KEPT, sources)
    if kept is not None:
        return kept, how
    text = {name: each.cpu().contiguous() for name, each in _made(folder, family, network, how).items()}
    try:
        with atomic_path(folder / KEPT) as temporary:
            save_file(text, temporary, metadata={"made": json.dumps(sources)})
    except EdgebenchError:
        pass  # a folder that may not be written to: it is computed again next time
    return text, how


def _how(folder: Path, family: str) -> str:
    if family == "sdxl":
        index = folder / "model_index.json"
        zeros = read_config(index).get("force_zeros_for_empty_prompt", True) if index.is_file() else True
        return "zeros" if zeros else "encoded"
    if family == "sd35" and not (folder / _THIRD).is_dir() and not _kept_with_t5(folder / KEPT):
        return "encoded, zeros for T5"
    return "encoded"


def _files(folder: Path, family: str) -> dict[str, int]:
    """Sizes of the encoders' weights by path."""
    found = (path for name in _ENCODERS[family] for path in sorted((folder / name).glob("*.safetensors")))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def _t5_tokens(family: str, network: Mapping[str, Any]) -> int | None:
    return _T5_TOKENS_FLUX[bool(network["guidance_embeds"])] if family == "flux1" else _T5_TOKENS.get(family)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get("made", "{}")))
    except (OSError, SafetensorError, ValueError):
        return {}


def _kept_with_t5(path: Path) -> bool:
    return any(name.startswith(_THIRD) for name in _metadata(path).get("files", {}))


def _read(path: Path, sources: Mapping[str, Any]) -> EmptyText | None:
    """What was kept, if it was made of the encoders that are here; of those deleted since, nothing is asked."""
    made = _metadata(path)
    if any(made.get(key) != sources[key] for key in ("family", "how", "tokens")):
        return None
    files = made.get("files", {})
    if any(files.get(name) != size for name, size in sources["files"].items()):
        return None
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a dict


@torch.no_grad()
def _made(folder: Path, family: FamilyName, network: Mapping[str, Any], how: str) -> dict[str, Tensor]:
    tokens = _t5_tokens(family, network) or 0
    if how == "zeros":
        pooled = network["projection_class_embeddings_input_dim"] - 6 * network["addition_time_embed_dim"]
        hidden = torch.zeros(1, _CLIP_TOKENS, network["cross_attention_dim"])
        return {"hidden": hidden, "pooled": torch.zeros(1, pooled)}
    if family == "sd15":
        return {"hidden": _clip(folder, _FIRST, CLIPTextModel).last_hidden_state.float()}
    if family == "pixart_alpha":
        mask = (torch.arange(tokens) < 1).long()[None]
        return {"hidden": _t5(folder, _FIRST, tokens, mask), "mask": mask}
    if family == "flux1":
        pooled = _clip(folder, _FIRST, CLIPTextModel).pooler_output.float()
        return {"hidden": _t5(folder, _SECOND, tokens), "pooled": pooled}
    # The layer before the last of both CLIPs, side by side; SDXL pools the second alone.
    first, second = (
        _clip(folder, _FIRST, CLIPTextModelWithProjection if family == "sd35" else CLIPTextModel),
        _clip(folder, _SECOND, CLIPTextModelWithProjection),
    )
    hidden = torch.cat([each.hidden_states[-2].float() for each in (first, second)], -1)
    if family == "sdxl":
        return {"hidden": hidden, "pooled": second.text_embeds.float()}
    width = network["joint_attention_dim"]
    third = torch.zeros(1, tokens, width) if "zeros" in how else _t5(folder, _THIRD, tokens)
    hidden = torch.cat([functional.pad(hidden, (0, width - hidden.shape[-1])), third], 1)
    return {"hidden": hidden, "pooled": torch.cat([first.text_embeds, second.text_embeds], -1).float()}


def _clip(folder: Path, name: str, kind: Any) -> Any:
    encoder = load_part(folder / name, kind.from_pretrained).eval()
    # CLIP's vocabulary ends with the marks for beginning and end; the files' own entries are often wrong. 2 makes
    # transformers pool at the largest token, which is the end.
    for module in encoder.modules():
        if hasattr(module, "eos_token_id"):
            module.eos_token_id = 2
    size = encoder.config.vocab_size
    ids = torch.full((1, _CLIP_TOKENS), size - 1 if _pads_with_end(folder, name) else 0)
    ids[0, :2] = torch.tensor([size - 2, size - 1])
    return encoder(ids, output_hidden_states=True)


def _pads_with_end(folder: Path, name: str) -> bool:
    """Whether an encoder's tokenizer fills up with the mark for the end; the second one's uses `!`, the first token."""
    path = folder / name.replace("text_encoder", "tokenizer") / "tokenizer_config.json"
    padding = read_config(path).get("pad_token") if path.is_file() else None
    padding = padding["content"] if isinstance(padding, dict) else padding
    return name == _FIRST if padding is None else padding != "!"


def _t5(folder: Path, name: str, tokens: int, mask: Tensor | None = None) -> Tensor:
    encoder = load_part(folder / name, T5EncoderModel.from_pretrained, torch.bfloat16).eval()
    ids = torch.full((1, tokens), encoder.config.pad_token_id)
    ids[0, 0] = encoder.config.eos_token_id
    return encoder(ids, attention_mask=mask).last_hidden_state.float()


def check_text(text: EmptyText, expected: Mapping[str, int], folder: str | Path) -> None:
    """Check that the empty text has the widths that the denoiser takes.

    Raises:
        DataError: it has not.
    """
    for name, width in expected.items():
        if name not in text or text[name].shape[-1] != width:
            found = text[name].shape[-1] if name in text else "none"
            raise DataError(
                f"{folder}: the text encoders' output ({name}) has width {found}, the denoiser takes {width}. They "
                "belong to different models: fetch all parts again."
            )
