"""Processes of their own for trainings that are shared or killed."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext


def forkserver() -> ForkServerContext:
    """Forks from a process that has imported what takes long, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    late = ["sympy", "torch._dynamo", "torch._inductor.config", "torch.distributed", "torch.utils.data"]
    models = ["diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl"]
    clip = "transformers.models.clip.modeling_clip"
    context.set_forkserver_preload(["pytest", "torch", "accelerate", *late, *models, clip])
    return context
