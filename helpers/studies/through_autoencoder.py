"""What the autoencoder leaves of three attacks' changes (notebook 06)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import attacks, datasets, defenses, evaluation, pipeline
from ..pipeline import Run
from .threat_ladder import l2_norm


@dataclass(frozen=True, eq=False)
class Through:
    """Images, attacked images, and both behind the autoencoder.

    Attributes:
        images: float32 [n, h, w, 3] in [0, 1].
        labels: integers [n].
        moved: the attacked images, by attacker.
        restored: the autoencoder's output for the images.
        seen: its output for the attacked images, by attacker.
        answers: the fine-tuned classifier's answers to these, integers [n] by attacker.
    """

    images: np.ndarray
    labels: np.ndarray
    moved: dict[str, np.ndarray]
    restored: np.ndarray
    seen: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]

    def shares(self) -> dict[str, np.ndarray]:
        """Return, by attacker, the norm of each change behind the autoencoder over that before it."""
        return {
            kind: l2_norm(self.seen[kind] - self.restored) / l2_norm(moved - self.images)
            for kind, moved in self.moved.items()
        }

    def rows(self, eps: float, classes: tuple[str, ...], n: int = 5) -> tuple[dict, dict, dict]:
        """Return rows of images, their titles and which of these are wrong answers, for plots.gallery."""
        rows, titles, wrong = {"image": self.images[:n]}, {"image": self.labels[:n]}, {}
        for kind, moved in self.moved.items():
            left = f"{kind}: behind the AE"
            rows[f"{kind}: the change"] = _magnified((moved - self.images)[:n], eps)
            rows[left] = _magnified((self.seen[kind] - self.restored)[:n], eps)
            titles[left] = self.answers[kind][:n]
            wrong[left] = self.answers[kind][:n] != self.labels[:n]
        rows["end-to-end: the image\nbehind the AE"] = self.seen["end-to-end"][:n]
        return rows, {row: [classes[k] for k in which] for row, which in titles.items()}, wrong


def measure(run: Run, n: int) -> Through:
    """Attack the fine-tuned classifier behind the autoencoder as three attackers do.

    Args:
        run: the run.
        n: the number of test images.
    """
    images, labels = run.data.test.take(n)
    autoencoder, tuned = pipeline.autoencoder(run)[0], pipeline.stages(run)["fine_tuned"]
    defended = defenses.defended(autoencoder, tuned)
    options = {"step_size": attacks.step_size_for(run.eps), "seed": run.seed}

    def pgd(target) -> np.ndarray:
        return attacks.pgd(pipeline.for_attack(target), images, labels, run.eps, **options)

    moved = {
        "oblivious": datasets.to_float(pipeline.inputs(run, "test", "pgd")[:n]),
        "grey-box": pgd(tuned),
        "end-to-end": pgd(defended),
    }
    seen = {kind: evaluation.predict(autoencoder, x) for kind, x in moved.items()}
    answers = {kind: evaluation.predict(tuned, x).argmax(1) for kind, x in seen.items()}
    return Through(images, labels, moved, evaluation.predict(autoencoder, images), seen, answers)


def _magnified(change: np.ndarray, eps: float) -> np.ndarray:
    """Return a change as an image: grey is none, full brightness eps or more."""
    return np.clip(0.5 + change / (2 * eps), 0, 1)
