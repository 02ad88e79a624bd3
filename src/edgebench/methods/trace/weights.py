"""Weight files of one-step TRACE: what was trained, and how to build the rest.

With a small backbone the file holds everything. With a released one it holds adapters and decoder, and names the
checkpoint that they belong to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from edgebench.errors import ConfigError, DataError
from edgebench.methods.trace import small
from edgebench.methods.trace.backbone import Backbone
from edgebench.methods.trace.decoder import DecoderConfig, Level, decoder_dict
from edgebench.methods.trace.small import SmallBackbone
from edgebench.methods.trace.student import Student, is_lora
from edgebench.methods.weight_files import check_names, load_strictly, read_metadata, read_weights

METHOD = "trace"
_NETWORK, _DECODER = "network.", "decoder."


def student_metadata(student: Student, origin: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a weight file says about itself.

    Args:
        student: The network.
        origin: Of a student on a released model, what it was opened by: the `checkpoint`'s name, and how it is read.
    """
    backbone = student.backbone
    metadata = {"method": METHOD, "size": str(backbone.size)}
    metadata["config"] = json.dumps(
        decoder_dict(student.config, student.levels) | {"lora_rank": student.lora_rank, "origin": dict(origin or {})}
    )
    if isinstance(backbone, SmallBackbone):
        metadata["backbone"] = small.weight_metadata(backbone.network.config)["config"]
    return metadata


def student_tensors(state: Mapping[str, Tensor], student: Student) -> dict[str, Tensor]:
    """What a weight file holds, of the student's state."""
    backbone = student.backbone
    if isinstance(backbone, SmallBackbone):
        codec = small.weight_tensors({}, backbone.codec)
        return {**state, **codec}
    return {name: tensor for name, tensor in state.items() if name.startswith(_DECODER) or is_lora(name)}


def origin_of(path: str | Path) -> dict[str, str]:
    """Which released model the weights of a file belong to (`checkpoint`), and how it is read; empty if none is needed.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another method.
    """
    metadata, _ = read_weights(path, METHOD, "TRACE", ("config", "size"))
    origin = _read(metadata["config"], path).get("origin", {})
    return {str(key): str(value) for key, value in origin.items()}


def trained_size(path: str | Path) -> int:
    """Side of the square that pictures were resized to when the weights of a file were trained, pixels.

    Raises:
        DataError: the file is missing or damaged, or its size is no number.
    """
    size = read_metadata(path).get("size", "")
    if not size.isdecimal():
        raise DataError(f"{path}: its metadata give the size {size!r}, where pixels were expected. Train it again.")
    return int(size)


def load_student(path: str | Path, backbone: Backbone | None = None) -> Student:
    """Build the network of a weight file, in evaluation mode on the device of the backbone.

    Args:
        path: The file.
        backbone: The released model that `origin_of` names, changed in place; not needed where the file
            holds all.

    Raises:
        DataError: the file is missing or damaged, or holds the weights of another model.
        ConfigError: the released model is needed.
    """
    metadata, state = read_weights(path, METHOD, "TRACE", ("config", "size"))
    known = _read(metadata["config"], path)
    codec = {name: tensor for name, tensor in state.items() if name.startswith(small.CODEC)}
    if "backbone" in metadata:
        backbone = small.build(metadata["backbone"], path)
        load_strictly(backbone.codec, {name.removeprefix(small.CODEC): each for name, each in codec.items()}, path)
    elif backbone is None:
        raise ConfigError(
            f"{path}: holds adapters of the checkpoint '{known.get('origin', {}).get('checkpoint')}', which is needed "
            "beside it. Name it as the backbone."
        )
    try:
        config = DecoderConfig(**known["config"])
        levels = [Level.from_list(each) for each in known["levels"]]
        rank = known["lora_rank"]
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    device = next(backbone.network.parameters()).device
    student = Student(backbone, config, levels, rank)
    own = {name: tensor for name, tensor in state.items() if name not in codec}
    expected = student_tensors(student.state_dict(), student)
    check_names({name: tensor for name, tensor in expected.items() if name not in codec}, own, path)
    student.load_state_dict(own, strict=False)  # what is not in the file is the released model's
    return student.to(device).eval()


def _read(config: str, path: str | Path) -> dict[str, Any]:
    try:
        known = json.loads(config)
    except ValueError as error:
        raise DataError(f"{path}: the network's configuration cannot be read ({error}). Train it again.") from error
    if not isinstance(known, dict):
        raise DataError(f"{path}: the network's configuration is {known!r}. Train it again.")
    return known
