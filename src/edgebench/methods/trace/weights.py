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
from edgebench.methods.weight_files import check_names, read_metadata, read_weights

METHOD = "trace"
_NETWORK, _DECODER = "network.", "decoder."


def student_metadata(student: Student, checkpoint: str | None = None) -> dict[str, str]:
    """What a weight file says about itself.

    Args:
        student: The network.
        checkpoint: Name of the released model that it is built on; None for a small backbone.
    """
    backbone = student.backbone
    metadata = {"method": METHOD, "size": str(backbone.size)}
    metadata["config"] = json.dumps(
        decoder_dict(student.config, student.levels) | {"lora_rank": student.lora_rank, "checkpoint": checkpoint}
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
