"""The attacks of torchattacks on the course's ResNet-20, in PyTorch: a process of its own (peers.py).

    .venv-peers/bin/python -I peer_torch.py FOLDER

FOLDER holds job.json, weights.npz, images.npy and labels.npy. The process writes logits.npy there, says in
one line of JSON what it is, and then answers each line of JSON with another. It imports nothing of the
course, which is not in its environment; nor is TensorFlow.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchattacks
from torch import nn
from torch.nn import functional

WIDTHS = {"stage1": 16, "stage2": 32, "stage3": 64}

Weights = Mapping[str, np.ndarray]


class Block(nn.Module):
    """A convolution that pads by half its kernel on every side, and BatchNorm."""

    def __init__(self, weights: Weights, name: str, stride: int = 1):
        super().__init__()
        kernel = torch.from_numpy(weights[f"{name}/conv/conv/kernel"]).permute(3, 2, 0, 1)  # HWIO to OIHW
        out, inner, size, _ = kernel.shape
        self.conv = nn.Conv2d(inner, out, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-5)
        self.conv.weight.data.copy_(kernel)
        for parameter, part in (
            (self.bn.weight.data, "gamma"),
            (self.bn.bias.data, "beta"),
            (self.bn.running_mean, "moving_mean"),
            (self.bn.running_var, "moving_variance"),
        ):
            parameter.copy_(torch.from_numpy(weights[f"{name}/bn/{part}"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised channels."""
        return self.bn(self.conv(x))


class Unit(nn.Module):
    """Two blocks and the identity beside them, which has a block of its own where the width changes."""

    def __init__(self, weights: Weights, name: str, stride: int):
        super().__init__()
        self.first = Block(weights, f"{name}/body/conv1", stride)
        self.second = Block(weights, f"{name}/body/conv2")
        beside = f"{name}/identity_conv"
        has_block = f"{beside}/conv/conv/kernel" in weights
        self.identity = Block(weights, beside, stride) if has_block else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both ways."""
        return functional.relu(self.second(functional.relu(self.first(x))) + self.identity(x))


class ResNet20(nn.Module):
    """tf2cv's ResNet-20 for CIFAR, with the normalisation inside: images in [0, 1] in, logits out."""

    def __init__(self, weights: Weights):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.from_numpy(weights[name]).float().view(1, 3, 1, 1))
        self.init_block = Block(weights, "init_block")
        self.units = nn.Sequential(
            *(
                Unit(weights, f"{stage}/unit{number}", 2 if number == 1 and stage != "stage1" else 1)
                for stage in WIDTHS
                for number in (1, 2, 3)
            )
        )
        self.output = nn.Linear(WIDTHS["stage3"], len(weights["output1/bias"]))
        self.output.weight.data.copy_(torch.from_numpy(weights["output1/kernel"]).T)
        self.output.bias.data.copy_(torch.from_numpy(weights["output1/bias"]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images [n, 3, 32, 32]."""
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        x = self.units(functional.relu(self.init_block(x)))
        return self.output(x.mean((2, 3)))


class Peer:
    """The network, the images, and what can be asked of them.

    Args:
        folder: holds job.json (``threads``, ``batch``, ``eps``, ``step_size``, ``steps``), weights.npz,
            images.npy (float32 [n, 32, 32, 3] in [0, 1]) and labels.npy (integers [n]).
    """

    def __init__(self, folder: Path):
        self.job = json.loads((folder / "job.json").read_text())
        torch.set_num_threads(self.job["threads"])
        with np.load(folder / "weights.npz") as weights:
            network = ResNet20(dict(weights))
        # No gradient is taken by a weight: a compiled network would compute it.
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.compiled = torch.compile(self.network)
        images = torch.from_numpy(np.load(folder / "images.npy")).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(np.load(folder / "labels.npy").astype(np.int64))

    @torch.no_grad()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of many images."""
        return torch.cat([self.network(part) for part in images.split(self.job["batch"])])

    def pgd(self, compiled: bool, save: str = "") -> dict:
        """Attack all images, in one batch, with torchattacks' PGD; write them (NHWC) where ``save`` says."""
        job = self.job
        attack = torchattacks.PGD(
            self.compiled if compiled else self.network, job["eps"], job["step_size"], job["steps"], False
        )
        attacked = attack(self.images, self.labels).permute(0, 2, 3, 1).contiguous().numpy()
        if save:
            np.save(save, attacked)
        return {}

    def autoattack(self, norm: str, eps: float, steps: int, queries: int) -> dict:
        """Run torchattacks' parts of AutoAttack, each on the images still robust, as the official code does.

        Args:
            norm: ``linf`` or ``l2``.
            eps: the budget in that norm.
            steps: of APGD, of targeted APGD for each class, and of FAB for each class.
            queries: of Square.

        Returns:
            For each image, whether it is ``robust``.
        """
        robust = self.logits(self.images).argmax(1) == self.labels
        for attack in self._standard({"norm": norm.capitalize(), "eps": eps, "seed": 0}, steps, queries):
            for part in robust.nonzero().flatten().split(self.job["batch"]):
                # FAB cannot work with channels last; the network itself goes over to them.
                attacked = attack(self.images[part].contiguous(), self.labels[part])
                robust[part] = self.logits(attacked).argmax(1) == self.labels[part]
        return {"robust": robust.tolist()}

    def _standard(self, common: dict, steps: int, queries: int) -> list[torchattacks.attack.Attack]:
        """Return the attacks of AutoAttack's standard version."""
        classes = {"n_classes": self.network.output.out_features}
        return [
            torchattacks.APGD(self.network, steps=steps, loss="ce", **common),
            torchattacks.APGDT(self.network, steps=steps, **classes, **common),
            torchattacks.FAB(self.network, steps=steps, multi_targeted=True, **classes, **common),
            torchattacks.Square(self.network, n_queries=queries, resc_schedule=False, **common),
        ]

    def memory(self) -> dict:
        """Return the most memory that this process has held."""
        status = Path("/proc/self/status")
        # On Linux getrusage may report the peak of the process that started this one.
        if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
            return {"peak_mib": int(found[1]) // 2**10}
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_mib": peak // (2**20 if sys.platform == "darwin" else 2**10)}


def main(folder: Path) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer

    def say(answer: dict) -> None:
        answers.write(json.dumps(answer) + "\n")

    peer = Peer(folder)
    np.save(folder / "logits.npy", peer.logits(peer.images).numpy())
    say({name: version(name) for name in ("torch", "torchattacks")} | {"threads": torch.get_num_threads()})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(getattr(peer, request.pop("do"))(**request))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
