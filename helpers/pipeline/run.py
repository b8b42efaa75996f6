"""A run: the data, the initial classifier and the parameters that every step of the pipeline takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

from .. import artifacts, attacks, classifiers, settings
from ..attacks import STEPS, step_size_for
from ..backend import keras
from ..datasets import Data, Split
from ..settings import CourseError, Networks, Profile
from . import published, schedules
from .matching import named_phases
from .protocol import IMAGENET_MEAN, IMAGENET_STD, Protocol


@dataclass(frozen=True)
class Run:
    """The data, the initial classifier and the parameters of one run.

    Attributes:
        networks: where the autoencoder and the fine-tuned classifier come from: ``trained`` by this run,
            ``shipped`` with the course, or ``auto`` (a part is taken if the course ships it, and trained
            otherwise).
        protocol: the run's departures from the course's protocol, for the audit.
        schedule: how the classifier is fine-tuned, a key of schedules.SCHEDULES.
    """

    data: Data
    classifier: keras.Model
    model: str
    profile: Profile
    seed: int
    eps: float
    weights: str
    networks: Networks = Networks.TRAINED
    protocol: Protocol = field(default_factory=Protocol)
    schedule: str = schedules.CURRENT

    def config(self, *modules: ModuleType) -> dict:
        """Return the part of an artifact's configuration that all steps share.

        Args:
            modules: modules whose code the artifact depends on, besides the classifiers and the attacks.
        """
        return {
            "data": self.data.sha256,
            "model": self.model,
            "weights": classifiers.weights_sha256(self.classifier),
            "eps": self.eps,
            "seed": self.seed,
            "code": artifacts.code_version(classifiers, attacks, *modules),
            "protocol": self.protocol.changes(),
            **({"crafting": self.crafting} if self.crafting != "float32" else {}),
            **unusual_steps(self.eps),
        }

    @property
    def crafting(self) -> str:
        """The Keras policy in which FGSM and PGD images are crafted (settings.crafting_precision)."""
        return settings.crafting_precision(self.profile.name)

    def fields(
        self,
        stage: str,
        defense: str,
        kind: str,
        threat: str,
        eps: float | None = None,
        steps: int | None = None,
    ) -> dict:
        """Return the fields of a record of this run (evaluation.Record).

        Args:
            stage: the record's stage.
            defense: the record's defense.
            kind: the record's input.
            threat: what the attacker knows.
            eps: the attack's budget; default: the run's, and 0 for clean images.
            steps: the attack's steps; default: the paper's for FGSM and PGD, and 0 for any other input.
        """
        usual = 0.0 if kind == "regular" else self.eps
        return {
            "dataset": self.data.name,
            "profile": self.profile.name,
            "model": self.model,
            "stage": stage,
            "defense": defense,
            "input": kind,
            "threat": threat,
            "eps": usual if eps is None else eps,
            "steps": {"fgsm": 1, "pgd": STEPS}.get(kind, 0) if steps is None else steps,
            "seed": self.seed,
        }

    def split(self, name: str) -> Split:
        """Return the images of a split that this run's profile uses."""
        if name == "train":
            return self.data.training_images(self.profile.n_train)
        if name == "validation":
            return self.data.validation.head(self.profile.n_validation)
        if name == "test":
            return self.data.test.head(self.profile.n_test)
        raise CourseError(f"unknown split {name!r}; choose train, validation or test")

    @property
    def comparable(self) -> bool:
        """Whether this run has the paper's data set and budget, so that the numbers can be compared."""
        return published.comparable(self.data.name, self.eps)

    @property
    def notice(self) -> str:
        """What the reader must know before reading a lesson beside this run; empty for the recorded one's.

        The lessons tell the recorded run of ResNet-20, so other networks, data or parameters contradict them.
        """
        told = self.model == "resnet20" and self.comparable and self.weights == "course" and not self.seed
        other = "The text describes ResNet-20 on CIFAR-10 at 8/255 with seed 0. The outputs are this run's."
        said = [text for text in (self.data.notice, "" if told else other) if text]
        return f"> **Notice.** {' '.join(said)}" if said else ""

    @property
    def label(self) -> str:
        """The label of this run in figures; empty for a full run on CIFAR-10 with the paper's parameters."""
        return published.run_label(self.data.name, self.profile.name, self.eps, self.weights)


def departing(run: Run, protocol: Protocol) -> Run:
    """Return the same run under another protocol; it trains its own networks."""
    classifier = run.classifier
    if protocol.statistics == "imagenet":
        classifier = classifiers.renormalised(classifier, IMAGENET_MEAN, IMAGENET_STD)
    return replace(run, classifier=classifier, protocol=protocol, networks=Networks.TRAINED)


def unusual_steps(eps: float) -> dict:
    """Return PGD's steps and step size if they differ from the paper's (ten steps of 0.01), else nothing.

    Artifacts made with the paper's values keep keys that do not name them.
    """
    steps = {"steps_of_pgd": STEPS, "step_size_of_pgd": step_size_for(eps)}
    return {} if tuple(steps.values()) == (10, 0.01) else steps


def phases_of(run: Run, profile: Profile | None = None) -> list[tuple[Sequence[str], int]]:
    """Return the run's fine-tuning schedule (matching.named_phases), or that of another profile."""
    return named_phases(run.model, profile or run.profile, run.schedule)
