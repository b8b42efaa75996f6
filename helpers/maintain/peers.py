"""The benchmark's other framework: PyTorch, in an environment and a process of its own (peer_torch.py).

The process gets the network's weights as plain arrays, and the images. It does one thing at a time, when it
is asked, so that its rounds alternate with the course's.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import attacks, evaluation, settings
from ..backend import keras
from ..report import scheduling
from ..settings import CourseError
from ..studies.autoattack import copies, crafted_on
from .contenders import EPS, STEP_SIZE, STEPS, Contender
from .speed_tables import JUDGE

PYTHON = settings.ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("peer_torch.py")
NETWORK = "resnet20"
"""The network that is ported."""

TOLERANCE = 1e-4
"""How far a logit of the ported network may be from the classifier's."""

PGD = {"torchattacks, eager": False, "torchattacks, compiled": True}
"""The contenders, and whether their network is compiled. Both work with channels last."""

OURS = {"the course": "float32", "the course, bfloat16": "mixed_bfloat16"}
"""The course's ensembles: the precision in which each crafts its images."""

AUTOATTACK = {"steps": 100, "queries": 5000}
"""AutoAttack's own budget (Croce & Hein 2020); torchattacks' default has 10 steps."""

BATCH = 128


class Peer:
    """A PyTorch process that answers requests, one at a time.

    Attributes:
        about: the versions of its libraries, and the number of its threads.
    """

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self.about = self._answer()

    def ask(self, do: str, **options: Any) -> dict:
        """Have one thing done (a method of peer_torch.Peer) and return the answer.

        Raises:
            CourseError: it failed, or the process has ended.
        """
        with suppress(BrokenPipeError):  # _answer says what happened
            self._process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise CourseError(f"the PyTorch process ended with status {status}; its own message is above")
        answer = json.loads(line)
        if "error" in answer:
            raise CourseError(f"PyTorch could not do what it was asked: {answer['error']}")
        return answer


def why_not(model: str) -> str:
    """Return why PyTorch cannot be measured with a network, or an empty text."""
    if model != NETWORK:
        return f"only {NETWORK} is ported to PyTorch, not {model}"
    if not PYTHON.is_file():
        return "PyTorch has no environment here; 'python install.py peers' makes it"
    return ""


@contextmanager
def started(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Iterator[Peer]:
    """Start a process, compare its logits with the classifier's, and end it afterwards.

    Args:
        classifier: a ResNet-20 (classifiers.load).
        images: float32 [n, 32, 32, 3] in [0, 1].
        labels: integers [n].

    Raises:
        CourseError: the process does not start, or its network is not the classifier.
    """
    job = {"threads": scheduling.cores(), "batch": BATCH, "eps": EPS, "step_size": STEP_SIZE, "steps": STEPS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        np.savez(folder / "weights.npz", **weights_of(classifier))
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)
        command = [str(part) for part in (PYTHON, "-I", SCRIPT, folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                peer = Peer(process)
                check_logits(attacks.logits_in_batches(classifier, images), np.load(folder / "logits.npy"))
                yield peer
            finally:
                process.kill()


def weights_of(classifier: keras.Model) -> dict[str, np.ndarray]:
    """Return a ResNet-20's arrays by name (``stage1/unit1/body/conv1/bn/gamma``), ``mean`` and ``std``."""
    normalize = classifier.get_layer("normalize")
    arrays = {"mean": normalize.mean, "std": normalize.std}
    for weight in classifier.weights:
        _, name = weight.name.removesuffix(":0").split("/", 1)  # without the network's own name
        name = re.sub(r"(stage\d)/\1/", r"\1/", name.removeprefix("features/features/"))
        arrays[name] = weight.numpy()
    return arrays


def check_logits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Check that two networks give the same logits [n, classes] for the same images.

    Raises:
        CourseError: they do not.
    """
    if ours.shape != theirs.shape:
        raise CourseError(f"PyTorch's network returned logits {theirs.shape}; {ours.shape} were expected")
    apart = float(np.abs(ours - theirs).max())
    if not apart <= TOLERANCE:  # NaN is no agreement
        raise CourseError(
            f"PyTorch's network is not the course's: logits differ by up to {apart:.2g}, more than "
            f"{TOLERANCE:g}; nothing was measured"
        )


@contextmanager
def contenders(
    classifier: keras.Model, images: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[dict[str, Contender], dict]]:
    """Yield torchattacks' PGD by name, to be run in turn with others, and what PyTorch says of itself."""
    with started(classifier, images, labels) as peer:
        runs = {name: partial(peer.ask, "pgd", compiled=compiled) for name, compiled in PGD.items()}
        yield runs, peer.about


def peak_mib(name: str, classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> int:
    """Return the peak memory of a new process that runs one contender (PGD) once."""
    with started(classifier, images, labels) as peer:
        peer.ask("pgd", compiled=PGD[name])
        return peer.ask("memory")["peak_mib"]


def worst_case(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict:
    """Time the course's ensemble and PyTorch's AutoAttack, in turn, on the same network and images.

    Args:
        classifier: a ResNet-20.
        images: float32 [n, 32, 32, 3] in [0, 1].
        labels: integers [n].

    Returns:
        By name, the ``seconds``, the robust accuracy (evaluation.proportion), and on how many images the
        verdict is another than JUDGE's: ``robust_only_here`` and ``robust_only_there``.
    """
    with started(classifier, images, labels) as peer:
        given = classifier, images, labels
        runs = {JUDGE: partial(autoattack, peer)}
        runs |= {name: partial(_ours, *given, precision) for name, precision in OURS.items()}
        found = {name: _timed(name, run) for name, run in runs.items()}
    judge = found[JUDGE][1]
    return {
        name: {
            "seconds": seconds,
            **evaluation.proportion(robust),
            "robust_only_here": int((robust & ~judge).sum()),
            "robust_only_there": int((judge & ~robust).sum()),
        }
        for name, (seconds, robust) in found.items()
    }


def _ours(classifier: keras.Model, images: np.ndarray, labels: np.ndarray, precision: str) -> np.ndarray:
    """Return which images are robust to the course's ensemble. The classifier itself judges, in float32."""
    members = crafted_on(*copies(classifier, precision), attacks.ensemble(batch_size=BATCH))
    return attacks.worst_case(classifier, images, labels, EPS, attacks=members).robust


def autoattack(peer: Peer, norm: str = "linf", eps: float = EPS) -> np.ndarray:
    """Return which of the peer's images are robust to AutoAttack in PyTorch: booleans [n]."""
    return np.array(peer.ask("autoattack", norm=norm, eps=eps, **AUTOATTACK)["robust"])


def _timed(name: str, run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the seconds of a run and what it found, and say them at once: the next run may take an hour."""
    start = time.perf_counter()
    robust = run()
    seconds = time.perf_counter() - start
    settings.note(f"{name}: {int(robust.sum())} of {len(robust)} images are robust, {seconds:,.0f} s")
    return seconds, robust
