"""One image, one attack, one look: what notebooks/explorer.ipynb computes. Its controls are in explorer_widgets.

    networks = load(pipeline.start(networks="auto"))
    view = explore(networks, image, label, Choice(attack="pgd", threat="adaptive", stage="fine_tuned", defense="ae"))
    print(verdict(view))

The attacks are those of helpers.attacks, on a batch of one: traced once for each network, whatever eps and steps are.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageOps

from .. import attacks, pipeline, settings
from ..attacks import STEPS, step_size_for
from ..backend import keras, tf
from ..datasets import Split
from ..defenses import autoencoder as ae_module
from ..pipeline import Run
from ..settings import CourseError

ATTACKS = {"none": "no attack", "noise": "random noise", "fgsm": "FGSM", "pgd": "PGD"}
THREATS = {
    "static": "the initial network (static)",
    "grey_box": "this network, not the autoencoder (grey-box)",
    "adaptive": "autoencoder and network (adaptive)",
}
SHORT = {
    "static": "PGD on the initial network",
    "grey_box": "PGD on the network",
    "adaptive": "PGD through both",
}
STAGES = {"initial": "initial", "fine_tuned": "fine-tuned"}
DEFENSES = ("none", "ae")
WITHOUT_ARTICLE = {"coins", "grass", "gravel", "stars", "text", "tissue"}
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # Pillow would hand some others to other programs
LARGEST = 50_000_000
"""Pixels of a file that is read; decoding 50 million takes a second or two."""


@dataclass(frozen=True)
class Choice:
    """What to look at.

    Attributes:
        attack: a key of ATTACKS. The noise moves every value by eps, up or down at random, as FGSM does along the
            gradient.
        threat: a key of THREATS: what FGSM and PGD differentiate. ``adaptive`` goes through the autoencoder whether or
            not it is on.
        eps: the budget, in [0, 1].
        steps: of PGD.
        stage: which network answers, a key of STAGES.
        defense: ``ae`` with the autoencoder before it, ``none`` without.
    """

    attack: str = "pgd"
    threat: str = "grey_box"
    eps: float = settings.EPS
    steps: int = STEPS
    stage: str = "initial"
    defense: str = "none"

    def __post_init__(self):
        for name, known in (
            ("attack", ATTACKS),
            ("threat", THREATS),
            ("stage", STAGES),
            ("defense", DEFENSES),
        ):
            if getattr(self, name) not in known:
                raise CourseError(f"unknown {name} {getattr(self, name)!r}; choose one of {', '.join(known)}")
        settings.check_eps(self.eps)
        attacks.check_count(self.steps, "steps", "an attack takes at least 1")

    @property
    def step_size(self) -> float:
        """PGD's: the paper's 0.01, or a quarter of eps where that is larger, so that ten steps can cross the ball."""
        return step_size_for(self.eps)


@dataclass(frozen=True, eq=False)
class Networks:
    """A run's networks, compiled for one image [1, 32, 32, 3] at a time.

    Attributes:
        answers: the logits of a classifier, by stage and defense.
        targets: the same functions, faster to differentiate: what attacks aim at.
        autoencoder: image to image.
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
    """What there is to see of one image.

    Attributes:
        label: the true class; None if it is not known (an upload).
        original, attacked, reconstructed: float32 [32, 32, 3] in [0, 1]; the last is what the autoencoder makes of
            ``attacked``, whether it is on or not.
        before, after: the chosen system's probabilities [classes] for ``original`` and ``attacked``.
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


def load(run: Run) -> Networks:
    """A run's networks, trained where they are not there yet, and every graph that explore uses, traced.

    Takes some ten seconds on two cores once the networks are there.
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
    # Called layer by layer, a network of this depth takes longer for one image than a step of PGD does.
    signature = [tf.TensorSpec([1, 32, 32, 3], tf.float32)]
    return tf.function(partial(attacks.logits_of, model), input_signature=signature, autograph=False)


def explore(networks: Networks, image: np.ndarray, label: int | None, choice: Choice, seed: int = 0) -> View:
    """Attack one image and ask the chosen system about it, before and after.

    Args:
        image: float32 [32, 32, 3] in [0, 1].
        label: its true class, from which the attack leads away; None if it is not known: then the attack leads away
            from what the system says of the image.
        seed: of the noise and of PGD's random start.
    """
    ask = networks.answers[choice.stage, choice.defense]
    original = np.asarray(image, np.float32)[None]
    before = _probabilities(ask, original)
    truth = np.array([before.argmax() if label is None else label])
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


def _attacked(
    networks: Networks, image: np.ndarray, label: np.ndarray, choice: Choice, seed: int
) -> np.ndarray:
    if choice.attack == "none":
        return image
    if choice.attack == "noise":
        return attacks.random_signs(image, choice.eps, seed)
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
    """The views of one test image by (threat, eps): what a page without a kernel shows."""
    image, label = test_image(networks, number)
    return {
        (threat, eps): explore(networks, image, label, replace(choice, threat=threat, eps=eps))
        for threat in threats
        for eps in budgets
    }


def test_image(networks: Networks, number: int) -> tuple[np.ndarray, int]:
    """A test image, float32 [32, 32, 3] in [0, 1], and its class."""
    images = networks.images
    if not 0 <= number < len(images):
        raise CourseError(f"there is no test image {number}; this run has 0 to {len(images) - 1}")
    return images.pixels[number].astype(np.float32) / np.float32(255), int(images.labels[number])


def first_recognised(networks: Networks, choice: Choice) -> int:
    """The number of the first test image that the chosen system names correctly without an attack; 0 if it names none
    of the first hundred."""
    ask, numbers = networks.answers[choice.stage, choice.defense], range(min(100, len(networks.images)))
    for number in numbers:
        image, label = test_image(networks, number)
        if _probabilities(ask, image[None]).argmax() == label:
            return number
    return 0


# --------------------------------------------------------------------------------------------------------- in words


def verdict(view: View) -> str:
    """What the chosen system takes the image for, and took it for before the attack."""
    then, now = int(view.before.argmax()), int(view.after.argmax())
    name, old = (with_article(view.classes[k]) for k in (now, then))
    sure, once = percent(view.after[now]), percent(view.before[then])
    truth = None if view.label is None else with_article(view.classes[view.label])
    if not view.changed:
        known = {None: ".", name: ", which is right."}
        return f"Taken for {name} ({sure})" + known.get(
            truth, f", but it is {truth}: wrong without any attack."
        )
    if now == then:
        known = {None: ".", name: ", which is right."}
        return f"Still taken for {name} ({sure}; {once} before)" + known.get(truth, f", but it is {truth}.")
    if truth == name:
        return f"Taken for {name} ({sure}), which is right; {old} before ({once})."
    known = {None: ".", old: f", and {old} it is."}
    return f"Taken for {name} ({sure}); {old} before ({once})" + known.get(truth, f". It is {truth}.")


def finding(views: Mapping[tuple[str, float], View]) -> str:
    """What over_budgets shows, in a line: from which budget on each attacker has their way."""
    parts = []
    for threat in dict.fromkeys(threat for threat, _ in views):
        wrong = [eps for (other, eps), view in views.items() if other == threat and not is_right(view)]
        parts.append(
            f"{SHORT[threat]}: " + (f"wrong from {255 * min(wrong):.3g}/255" if wrong else "right throughout")
        )
    return "; ".join(parts)


def is_right(view: View) -> bool | None:
    """Whether the chosen system names the attacked image correctly; None if nobody knows what it is."""
    return None if view.label is None else int(view.after.argmax()) == view.label


def threat_model(choice: Choice) -> str:
    """Who attacks, in a sentence."""
    budget = f"{255 * choice.eps:.3g}/255"
    if choice.attack == "none":
        return "Nobody attacks."
    if choice.attack == "noise":
        return f"The noise knows nothing: it moves every value by {budget}, up or down at random."
    steps = "in one step" if choice.attack == "fgsm" else f"in {choice.steps} steps of {choice.step_size:.3g}"
    knows = THREATS[choice.threat].partition(" (")[0]
    return f"The attacker knows {knows}, and may change every value by at most {budget}, {steps}."


def with_article(name: str) -> str:
    """A class as a sentence needs it: a cat, an airplane, grass."""
    if name in WITHOUT_ARTICLE:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def percent(probability: float) -> str:
    """A probability in whole percent; what is rounded to none or to all says so."""
    if 0 < probability < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= probability < 1 else f"{100 * probability:.0f}%"


# ------------------------------------------------------------------------------------------------------ one's own image


def read_image(content: bytes) -> np.ndarray:
    """An image file as the networks take it: the largest square in its middle, scaled to float32 [32, 32, 3] in [0, 1].

    Transparent parts become white; of an animation, the first picture counts.

    Raises:
        CourseError: it is no image, damaged, of a kind that is not read, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size, which is checked here, and of odd metadata
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if (pixels := image.width * image.height) <= LARGEST:
                image.load()
                image = ImageOps.exif_transpose(image)
    except Image.UnidentifiedImageError:
        raise CourseError(
            f"this file is no image of a kind that is read here ({', '.join(FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise CourseError(f"this image has too many pixels; at most {LARGEST:,} are read") from None
    except Exception as error:  # a damaged file can break a decoder in any way
        raise CourseError(
            "this image file is damaged or cut off; open it elsewhere and save it anew"
        ) from error
    if pixels > LARGEST:
        raise CourseError(f"this image has {pixels:,} pixels; at most {LARGEST:,} are read")
    return np.asarray(ImageOps.fit(_rgb(image), (32, 32), Image.Resampling.LANCZOS), np.float32) / np.float32(
        255
    )


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, np.uint16) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise CourseError("this image has 32 bits a value, and no agreed white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
