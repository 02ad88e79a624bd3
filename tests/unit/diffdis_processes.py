"""Processes of their own for trainings that are shared or killed."""

from __future__ import annotations

import multiprocessing
import random
import socket
from multiprocessing.context import ForkServerContext


def forkserver() -> ForkServerContext:
    """Forks from a process that has imported what takes long, and has no threads."""
    context = multiprocessing.get_context("forkserver")
    late = ["sympy", "torch._dynamo", "torch._inductor.config", "torch.distributed", "torch.utils.data"]
    models = ["diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl"]
    clip = "transformers.models.clip.modeling_clip"
    context.set_forkserver_preload(["pytest", "torch", "accelerate", *late, *models, clip])
    return context


def free_port() -> int:
    """A port that nothing listens on."""
    for port in random.sample(range(15_000, 30_000), 50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no free port")
