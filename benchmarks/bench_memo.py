"""Speed of MEMO's prediction beside a plain loop that computes everything anew.

`python benchmarks/bench_memo.py --preset tiny --height 128 --width 192 --steps 20` prints the seconds of both for
one batch, their ratio and how far the answers differ. Both run in one process and take turns step by step, so
that a machine that is busy with other things slows both. On a GPU:
`python benchmarks/bench_memo.py --preset default --height 320 --width 480 --device cuda --precision bf16 --compile`
(the plain loop stays in float32 and eager; the first prediction, which compiles, is not counted).

The plain loop does what a straightforward program does: low-rank adapters beside the weights, the image's half of
the first convolution in every pass, features of the black image for every batch, a doubled batch in every step
(the first, too), eight rolled copies of the confidence map, a Python loop over samples, and finished images stay
in the batch. Weights are random, which costs the same as trained ones.
"""

from __future__ import annotations

import argparse
import copy
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgebench.methods.memo.lora import add_lora
from edgebench.methods.memo.network import MASK, MemoNetwork
from edgebench.methods.memo.predictor import Predictor
from edgebench.methods.memo.presets import PRESETS, preset
from edgebench.methods.memo.reveal import CAP_SHARE, RevealSettings

GUIDANCE = 1.4


@dataclass(frozen=True)
class Case:
    """What is predicted, and where."""

    preset: str
    height: int
    width: int
    batch: int
    steps: int
    device: str
    precision: str
    compile: bool

    def images(self) -> list[np.ndarray]:
        """Smooth noise with some grain, uint8 (H, W, 3)."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(self.batch, 3, self.height // 8, self.width // 8, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(self.height, self.width), mode="bilinear")
        grain = torch.rand(smooth.shape, generator=generator)
        return list(((0.8 * smooth + 0.2 * grain) * 255).byte().permute(0, 2, 3, 1).numpy())


def adapted_network(name: str) -> MemoNetwork:
    """A network with random weights and adapters that say something."""
    torch.manual_seed(0)
    network = MemoNetwork(preset(name))
    add_lora(network)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.02)
        network.unet.conv_out.weight.mul_(5)  # answers that are not all near one half
    return network.eval()


class Plain:
    """The plain loop, one step at a time."""

    def __init__(self, network: MemoNetwork, images: list[np.ndarray], device: str) -> None:
        self.network = network.to(device)
        self.image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255).to(device)

    @torch.no_grad()
    def steps(self, count: int) -> Iterator[None]:
        """Reveal all; pauses after each step."""
        image, black = self.image, torch.zeros_like(self.image)
        features = self.network.encode(image)
        black_features = self.network.encode(black)
        batch, _, height, width = image.shape
        self.tokens = torch.full((batch, height, width), MASK, device=image.device)
        self.probability = torch.zeros(batch, height, width, device=image.device)
        both_images = torch.cat([image, black])
        both_features = None
        if features is not None and black_features is not None:
            both_features = torch.cat([features, black_features])
        for step in range(count):
            masked = self.tokens == MASK
            if masked.sum() == 0:
                break
            ratio = masked.float().mean((1, 2))
            logits = self.network(torch.cat([self.tokens] * 2), torch.cat([ratio] * 2), both_images, both_features)
            conditional, unconditional = logits.chunk(2)
            probabilities = (unconditional + GUIDANCE * (conditional - unconditional)).softmax(1)
            confidence, classes = probabilities.max(1)
            confidence = confidence.masked_fill(~masked, -torch.inf)
            for sample in range(batch):
                chosen = masked[sample] if step == count - 1 else self._maxima(confidence[sample])
                self.tokens[sample][chosen] = classes[sample][chosen]
                self.probability[sample][chosen] = probabilities[sample, 1][chosen]
            yield

    @staticmethod
    def _maxima(confidence: Tensor) -> Tensor:
        """Pixels of (H, W) that no neighbour beats; at most a fifth of all, the most confident."""
        framed = torch.nn.functional.pad(confidence[None], (1, 1, 1, 1), value=-torch.inf)[0]
        chosen = confidence > 0.5
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                if (down, right) != (0, 0):
                    chosen &= confidence >= framed.roll((down, right), (0, 1))[1:-1, 1:-1]
        cap = int(CAP_SHARE * confidence.numel())
        positions = chosen.flatten().nonzero()[:, 0]
        if len(positions) > cap:
            order = confidence.flatten()[positions].argsort(descending=True, stable=True)[:cap]
            chosen = torch.zeros_like(chosen).flatten()
            chosen[positions[order]] = True
            chosen = chosen.view_as(confidence)
        return chosen


class Turns:
    """Adds up the seconds that each side takes while they alternate."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.wall = {"plain": 0.0, "edgebench": 0.0}
        self.cpu = {"plain": 0.0, "edgebench": 0.0}
        self._start = (0.0, 0.0)

    def start(self) -> None:
        """Begin a turn."""
        self._wait()
        self._start = time.perf_counter(), time.process_time()

    def stop(self, name: str) -> None:
        """End the turn of `name`."""
        self._wait()
        self.wall[name] += time.perf_counter() - self._start[0]
        self.cpu[name] += time.process_time() - self._start[1]

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def compare(case: Case) -> tuple[Turns, float, float]:
    """Predict one batch both ways.

    Returns:
        Seconds of both, the largest difference of the probabilities, and the share of equal labels.
    """
    network, images = adapted_network(case.preset), case.images()
    names = [f"image{number}" for number in range(case.batch)]
    predictor = Predictor(
        copy.deepcopy(network),
        RevealSettings("locmax", case.steps),
        GUIDANCE,
        case.device,
        case.precision,  # type: ignore[arg-type]
        case.batch,
        compile=case.compile,
    )
    plain = Plain(network, images, case.device)
    if case.compile:
        predictor.predict(images, names)  # compiles every batch size that comes up
    turns = Turns(case.device)
    other = plain.steps(case.steps)
    shown = {"step": -1}

    def alternate(name: str, step: int, tokens: np.ndarray, probability: np.ndarray) -> None:
        """After each of our steps the plain loop does one of its own."""
        if step == shown["step"]:
            return
        shown["step"] = step
        turns.stop("edgebench")
        turns.start()
        next(other, None)
        turns.stop("plain")
        turns.start()

    turns.start()
    predictions = predictor.predict(images, names, alternate)
    turns.stop("edgebench")
    turns.start()
    for _ in other:
        pass
    turns.stop("plain")
    probability = np.stack([each.probability for each in predictions])
    edges = np.stack([each.edges for each in predictions])
    difference = float(np.abs(probability - plain.probability.cpu().numpy()).max())
    return turns, difference, float((edges == plain.tokens.cpu().numpy()).mean())


def report(case: Case, result: tuple[Turns, float, float]) -> str:
    """A table of one comparison, labelled with everything that it depends on."""
    turns, difference, equal = result
    where = torch.cuda.get_device_name() if case.device == "cuda" else platform.processor() or platform.machine()
    lines = [
        f"MEMO {case.preset} with adapters, {case.batch} images of {case.height}x{case.width}, {case.steps} steps of "
        f"locmax, guidance {GUIDANCE}; {case.precision}{', compiled' if case.compile else ''}; {where}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}",
        f"{'':<12}{'wall s':>10}{'s/image':>10}{'CPU s':>10}",
    ]
    for name in ("plain", "edgebench"):
        seconds = turns.wall[name]
        lines.append(f"{name:<12}{seconds:>10.2f}{seconds / case.batch:>10.2f}{turns.cpu[name]:>10.2f}")
    lines.append(
        f"{'times faster':<12}{turns.wall['plain'] / turns.wall['edgebench']:>10.2f}{'':>10}"
        f"{turns.cpu['plain'] / turns.cpu['edgebench']:>10.2f}"
    )
    lines.append(f"largest difference of probabilities {difference:.1e}, equal labels {100 * equal:.3f} %")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    chosen = vars(parser.parse_args())
    torch.set_num_threads(chosen.pop("threads"))
    case = Case(**chosen)
    print(report(case, compare(case)))


if __name__ == "__main__":
    main()
