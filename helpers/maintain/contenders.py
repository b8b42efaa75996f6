"""The attacks that the benchmark compares: the course's PGD, and that of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from .. import attacks, classifiers, settings
from ..backend import keras, tf
from ..classifiers import fused
from ..settings import CourseError

EPS, STEP_SIZE, STEPS = settings.EPS, 0.01, 10

Contender = Callable[[], object]


def as_in_tf2cv(classifier: keras.Model) -> keras.Model:
    """Return the classifier as tf2cv builds it, with padding in a layer of its own."""
    return classifiers.clone(classifier, padding_inside=False)


def _ours(target: Callable[[keras.Model], keras.Model]) -> Callable[..., Contender]:
    """Return the course's PGD on the model that ``target`` makes of the classifier."""

    def make(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
        model, size = target(classifier), len(images)
        paper = {"step_size": STEP_SIZE, "steps": STEPS, "random_start": False, "batch_size": size}
        return lambda: attacks.pgd(model, images, labels, EPS, **paper)

    return make


def _theirs(library: Callable[..., Contender]) -> Callable[..., Contender]:
    """Return a library's PGD on tf2cv's network, as the library's users run it."""
    return lambda classifier, images, labels: library(as_in_tf2cv(classifier), images, labels)


def _cleverhans(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    """Return CleverHans' PGD."""
    with needed("cleverhans"):
        from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    def model(x):  # one function for all rounds: CleverHans traces a graph for each function
        return classifier(x, training=False)

    return lambda: projected_gradient_descent(
        model,
        tf.constant(images),
        EPS,
        STEP_SIZE,
        STEPS,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
        rand_init=False,
        sanity_checks=False,
    ).numpy()


def _art(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    """Return ART's PGD."""
    with needed("art"):
        from art.attacks.evasion import ProjectedGradientDescentTensorFlowV2
        from art.estimators.classification import TensorFlowV2Classifier

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    wrapped = TensorFlowV2Classifier(classifier, 10, images.shape[1:], loss_object=loss, clip_values=(0, 1))
    attack = ProjectedGradientDescentTensorFlowV2(
        wrapped,
        eps=EPS,
        eps_step=STEP_SIZE,
        max_iter=STEPS,
        num_random_init=0,
        batch_size=len(images),
        verbose=False,
    )
    return lambda: attack.generate(images, labels)


def _foolbox(classifier: keras.Model, images: np.ndarray, labels: np.ndarray) -> Contender:
    """Return Foolbox's PGD."""
    if not hasattr(np, "find_common_type"):  # Foolbox 3.3.4 calls it, but NumPy 2 no longer has it
        np.find_common_type = lambda arrays, scalars: np.result_type(*arrays, *scalars)  # noqa: NPY201
    with needed("foolbox"):
        import foolbox

    model = foolbox.TensorFlowModel(lambda x: classifier(x, training=False), bounds=(0, 1), device="/CPU:0")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=False)
    x, y = tf.constant(images), tf.constant(labels, tf.int64)
    return lambda: attack(model, x, y, epsilons=EPS)[1].numpy()


@contextmanager
def needed(name: str) -> Iterator[None]:
    """Turn a missing library into an error that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise CourseError(f"{name} is not installed; 'make bench' installs what it compares with") from error


LIBRARIES = {"CleverHans": _cleverhans, "ART": _art, "Foolbox": _foolbox}

CONTENDERS: dict[str, Callable[[keras.Model, np.ndarray, np.ndarray], Contender]] = {
    "the course": _ours(fused.fuse),
    "the course, bfloat16": _ours(lambda classifier: fused.fuse(classifier, "mixed_bfloat16")),
    "the course, on tf2cv's graph": _ours(as_in_tf2cv),
    **{name: _theirs(library) for name, library in LIBRARIES.items()},
    "CleverHans, on the course's graph": lambda *given: _cleverhans(fused.fuse(given[0]), *given[1:]),
}
"""Every contender by name. The last one separates the network's share of a difference from the loop's."""
