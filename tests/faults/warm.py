"""Imports what the commands import late, so that a process forked from here begins at once."""

# ruff: noqa: F401
import importlib
import pkgutil

import accelerate
import matplotlib.backends.backend_agg
import matplotlib.pyplot
import sympy
import torch
import torch._dynamo
import torch._inductor.config
import torch.distributed
import torch.utils.data

import edgebench.cli.app
import edgebench.data
import edgebench.metrics
import edgebench.report
import edgebench.stages
import edgebench.training

for package in (edgebench.data, edgebench.metrics, edgebench.report, edgebench.stages, edgebench.training):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
