"""Attack one image and ask a network about it: what notebooks/explorer.ipynb computes.

    networks = load(pipeline.start(networks="auto"))
    choice = Choice(attack="pgd", threat="adaptive", stage="fine_tuned", defense="ae")
    print(verdict(explore(networks, image, label, choice)))

The attacks are those of helpers.attacks, on a batch of one image. They are traced once for each network, and
not again when eps or the number of steps changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import attacks, pipeline, settings
from ..attacks import STEPS, step_size_for
from ..backend import keras, tf
from ..datasets import Split
from ..defenses import autoencoder as ae_module
from ..pipeline import Run
from ..settings import CourseError
from .wording import ATTACKS, STAGES, THREATS

DEFENSES = ("none", "ae")


@dataclass(frozen=True)
class Choice:
    """What the reader chooses.

    Attributes:
        attack: a key of ATTACKS. Noise moves every value by eps, up or down at random.
        threat: a key of THREATS: what FGSM and PGD differentiate. An ``adaptive`` attack goes through the
            autoencoder whether or not that is on.
        eps: the budget, in [0, 1].
        steps: of PGD.
        stage: the network that answers, a key of STAGES.
        defense: ``ae`` with the autoencoder as preprocessor, ``none`` without.
    """

    attack: str = "pgd"
    threat: str = "grey_box"
    eps: float = settings.EPS
    steps: int = STEPS
    stage: str = "initial"
    defense: str = "none"

    def __post_init__(self):
        known_by = {"attack": ATTACKS, "threat": THREATS, "stage": STAGES, "defense": DEFENSES}
        for name, known in known_by.items():
            if getattr(self, name) not in known:
                raise CourseError(f"unknown {name} {getattr(self, name)!r}; choose one of {', '.join(known)}")
        # The class is frozen; these are plain numbers from here on, however they were given.
        object.__setattr__(self, "eps", settings.check_eps(self.eps))
        object.__setattr__(self, "steps", settings.whole_number(self.steps) or self.steps)
        settings.check_count(self.steps, "steps", "an attack takes at least 1")

    @property
    def step_size(self) -> float:
        """PGD's step size: the paper's 0.01, or eps / 4 if that is larger (step_size_for)."""
        return step_size_for(self.eps)


@dataclass(frozen=True, eq=False)
class Networks:
    """A run's networks, compiled for batches of one image [1, 32, 32, 3].

    Attributes:
        run: where they come from.
        answers: functions from image to logits, by stage and defense.
        targets: the same functions in a form that is faster to differentiate; the attacks use them.
        autoencoder: a function from image to image.
    """

    run: Run
    answers: dict[tuple[str, str], Callable]
    targets: dict[tuple[str, str], Callable]
    autoencoder: Callable

    @property
    def classes(self) -> tuple[str, ...]:
        return self.run.data.classes

    @property
    def images(self) -> Split:
        """The test images of the run's profile."""
        return self.run.split("test")


@dataclass(frozen=True, eq=False)
class View:
    """One image before and after the attack.

    Attributes:
        choice: what the reader chose.
        classes: their names.
        label: the true class; None if it is unknown (an upload).
        original, attacked, reconstructed: float32 [32, 32, 3] in [0, 1]. The last is the autoencoder's output
            for ``attacked``, whether the autoencoder is on or not.
        before, after: the chosen system's probabilities [classes] for ``original`` and ``attacked``; all are
            NaN if a logit is.
    """

    choice: Choice
    classes: tuple[str, ...]
    label: int | None
    original: np.ndarray
    attacked: np.ndarray
    reconstructed: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def change(self) -> np.ndarray:
        return self.attacked - self.original

    @property
    def changed(self) -> bool:
        return bool(np.any(self.change))

    @property
    def answers(self) -> tuple[int, int]:
        """The system's class before and after the attack; -1, which is no class, for NaN."""
        return _answer(self.before), _answer(self.after)


def load(run: Run) -> Networks:
    """Load a run's networks, or train them, and trace every graph that explore uses.

    This takes about ten seconds on two cores if nothing has to be trained.
    """
    autoencoder, _ = pipeline.autoencoder(run)
    systems = {}
    for stage, classifier in pipeline.stages(run).items():
        systems[stage, "none"], systems[stage, "ae"] = classifier, ae_module.defended(autoencoder, classifier)
    networks = Networks(
        run,
        answers={key: _compiled(model) for key, model in systems.items()},
        targets={key: _compiled(pipeline.for_attack(model)) for key, model in systems.items()},
        autoencoder=_compiled(autoencoder),
    )
    images, labels = networks.images.take(1)
    with settings.progress(total=len(systems), title="warming up") as bar:
        for stage, defense in systems:
            threat = "adaptive" if defense == "ae" else "grey_box"
            choice = Choice(threat=threat, steps=1, stage=stage, defense=defense)
            explore(networks, images[0], int(labels[0]), choice)
            bar.update()
    return networks


def _compiled(model: keras.Model) -> Callable:
    # Without a graph, a forward pass of one image takes longer than a step of PGD.
    signature = [tf.TensorSpec([1, 32, 32, 3], tf.float32)]
    return tf.function(partial(attacks.logits_of, model), input_signature=signature, autograph=False)


def explore(networks: Networks, image: np.ndarray, label: int | None, choice: Choice, seed: int = 0) -> View:
    """Attack one image and ask the chosen system about it, before and after.

    Args:
        networks: what load returns.
        image: float32 [32, 32, 3] in [0, 1].
        label: its true class, whose loss the attack raises. If it is None, the class is unknown, and the
            attack takes the system's answer in its place.
        choice: the attack and the system.
        seed: of the noise and of PGD's random start.

    Raises:
        CourseError: the attack takes the system's answer for the class, and there is none.
    """
    ask = networks.answers[choice.stage, choice.defense]
    original = np.asarray(image, np.float32)[None]
    before = _probabilities(ask, original)
    truth = np.array([_answer(before) if label is None else label])
    attacked = _attacked(networks, original, truth, choice, seed)
    return View(
        choice=choice,
        classes=networks.classes,
        label=label,
        original=original[0],
        attacked=attacked[0],
        reconstructed=np.asarray(networks.autoencoder(attacked))[0],
        before=before,
        after=_probabilities(ask, attacked),
    )


def _probabilities(ask: Callable, image: np.ndarray) -> np.ndarray:
    return np.asarray(tf.nn.softmax(ask(image)))[0]


def _answer(probabilities: np.ndarray) -> int:
    return int(attacks.answers_of(probabilities[None])[0])


def _attacked(
    networks: Networks, image: np.ndarray, label: np.ndarray, choice: Choice, seed: int
) -> np.ndarray:
    if choice.attack == "none":
        return image
    if choice.attack == "noise":
        return attacks.random_signs(image, choice.eps, seed)
    if label[0] < 0:
        raise CourseError(
            "the network's outputs for this image are NaN; without an answer none can be attacked"
        )
    stage = "initial" if choice.threat == "static" else choice.stage
    target = networks.targets[stage, "ae" if choice.threat == "adaptive" else "none"]
    if choice.attack == "fgsm":
        return attacks.fgsm(target, image, label, choice.eps)
    return attacks.pgd(
        target, image, label, choice.eps, step_size=choice.step_size, steps=choice.steps, seed=seed
    )


def over_budgets(
    networks: Networks,
    number: int,
    choice: Choice,
    budgets: Sequence[float],
    threats: Sequence[str] = ("grey_box", "adaptive"),
) -> dict[tuple[str, float], View]:
    """Return the views of one test image by (threat, eps), which a page without a kernel shows."""
    image, label = test_image(networks, number)
    return {
        (threat, eps): explore(networks, image, label, replace(choice, threat=threat, eps=eps))
        for threat in threats
        for eps in budgets
    }


def test_image(networks: Networks, number: int) -> tuple[np.ndarray, int]:
    """Return a test image, float32 [32, 32, 3] in [0, 1], and its class."""
    images = networks.images
    if not 0 <= number < len(images):
        raise CourseError(f"there is no test image {number}; this run has 0 to {len(images) - 1}")
    return images.pixels[number].astype(np.float32) / np.float32(255), int(images.labels[number])


def first_recognised(networks: Networks, choice: Choice) -> int:
    """Return the number of the first clean test image that the chosen system classifies correctly.

    It is 0 if the system is wrong about the first hundred.
    """
    ask = networks.answers[choice.stage, choice.defense]
    for number in range(min(100, len(networks.images))):
        image, label = test_image(networks, number)
        if _answer(_probabilities(ask, image[None])) == label:
            return number
    return 0
