"""A model's graphs, which attacks and assessment share, and the check that none of them is stale.

TensorFlow traces a Python function once and then replays its graph. A graph reads variables anew, so weights
may change. But what the function took from Python (a global, an attribute, NumPy's random numbers) is frozen
in it. So each use first asks the model itself about one image, outside its graphs. They are used again only
if it answers as it did when they were traced. A change that does not show on that image is missed.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ..settings import CourseError
from . import keras, tf

Model = Callable[[tf.Tensor], tf.Tensor]
"""Any callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes] (or, of an autoencoder, to
images)."""

KEPT = 8
"""The number of models whose graphs are kept, the last ones used. A model's graphs never outlive it."""

_kept: OrderedDict[tuple, _Graphs] = OrderedDict()


def logits_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """Return the model's outputs as float32; BatchNorm and dropout are in inference mode."""
    outputs: Any = model(images, training=False) if isinstance(model, keras.Model) else model(images)
    return outputs if getattr(outputs, "dtype", "float32") == "float32" else tf.cast(outputs, tf.float32)


def gradient_of(loss: tf.Tensor, images: tf.Tensor, tape: tf.GradientTape) -> tf.Tensor:
    """Return the gradient of a loss that was recorded on the tape.

    Raises:
        CourseError: there is none.
    """
    gradient: Any = None
    with suppress(LookupError):  # TensorFlow has none for one of the operations
        gradient = tape.gradient(loss, images)
    if gradient is None:
        raise CourseError(
            "the model has no gradient with respect to its images (tf.round, tf.argmax or NumPy cut it off); "
            "give it one with adaptive.straight_through, or attack it without gradients (square)"
        )
    return gradient


class Traced:
    """A model with its graphs, itself a model. Attacks and assessment take it without asking again."""

    def __init__(self, model: Model, graphs: _Graphs) -> None:
        self._model, self._graphs = model, graphs

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return the model's outputs."""
        return logits_of(self._model, images)

    @property
    def sample(self) -> np.ndarray:
        """The model's outputs for one image."""
        return self._graphs.answers[0]

    def graph(self, function: Callable) -> Callable:
        """Return function(model, ...) as a graph of the other arguments."""
        return self._graphs.of(function)


class _Graphs:
    """A model's graphs, by function, and the model's answers to one image when they were traced."""

    def __init__(self, find: Callable[[], Model | None], image: np.ndarray) -> None:
        self.find, self.image = find, tf.constant(image, tf.float32)
        self.answers: list[np.ndarray] = []
        self.form: tuple | None = None
        self._functions: dict[Callable, Callable] = {}

    def of(self, function: Callable) -> Callable:
        if function not in self._functions:
            find = self.find  # a graph that held the model itself would keep it alive

            def call(*args, **options):
                return function(find(), *args, **options)

            self._functions[function] = tf.function(call, reduce_retracing=True, autograph=False)
        return self._functions[function]

    def hold_for(self, model: Model, by_gradient: bool) -> bool:
        """Return whether the model is what it was. Remember its gradient when it is first asked for."""
        if self.find() is not model:
            return False
        if self.form is not None:
            return self.form[:2] == _form(model, self.image)[:2]
        now = _answers(model, self.image, by_gradient)
        same = all(_alike(a, b, 1e-5) for a, b in zip(now, self.answers, strict=False))
        self.answers += now[len(self.answers) :]
        return same


def traced(model: Model, images: np.ndarray, by_gradient: bool = False) -> Traced:
    """Return a model with graphs that compute what the model computes now.

    Args:
        model: any model, or a result of this function.
        images: float32 [n, h, w, c] in [0, 1].
        by_gradient: whether the graphs' gradients are used, too.

    Raises:
        CourseError: the model is random in a way that a graph would freeze.
    """
    if isinstance(model, Traced):
        return model
    key = id(model), tuple(images.shape[1:])
    graphs = _kept.pop(key, None)
    if graphs is None or not graphs.hold_for(model, by_gradient):
        find = _weakly(model, key)
        graphs = _Graphs(find or (lambda: model), images[:1])
        graphs.answers = _answers(model, graphs.image, by_gradient)
        if _is_random(model, graphs):
            graphs.form = _form(model, graphs.image)
        if find is None:
            return Traced(model, graphs)
    _kept[key] = graphs  # at the end, as the last one used
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return Traced(model, graphs)


def _weakly(model: Model, key: tuple) -> Callable[[], Model | None] | None:
    """Return a reference that does not keep the model alive; None if Python has none for its type."""
    try:
        return weakref.ref(model, lambda _: _kept.pop(key, None))
    except TypeError:
        return None


def _answers(model: Model, image: tf.Tensor, by_gradient: bool) -> list[np.ndarray]:
    """Return the outputs for one image and, if asked for, the gradient of a mixture of them."""
    if not by_gradient:
        return [np.asarray(logits_of(model, image))]
    with tf.GradientTape() as tape:
        tape.watch(image)
        outputs = tf.convert_to_tensor(logits_of(model, image))
        mixture = tf.reduce_sum(outputs * tf.cos(tf.range(outputs.shape[-1], dtype=tf.float32)))
    gradient = np.zeros(())
    with suppress(CourseError):  # the attack will say that there is none
        gradient = np.asarray(gradient_of(mixture, image, tape))
    return [np.asarray(outputs), gradient]


def _is_random(model: Model, graphs: _Graphs) -> bool:
    """Return whether the model answers differently each time, and refuse it if its graph would not."""
    if tf.config.functions_run_eagerly():
        return False
    first, again = graphs.answers[0], _answers(model, graphs.image, by_gradient=False)[0]
    if _alike(first, again, 1e-3):
        return False
    ask = graphs.of(logits_of)
    if _alike(np.asarray(ask(graphs.image)), np.asarray(ask(graphs.image)), 1e-3):
        raise CourseError(
            "the model answers the same image differently each time, but TensorFlow would freeze its random "
            "numbers: draw them with tf.random, not with NumPy, or call NumPy through tf.numpy_function"
        )
    return True


def _form(model: Model, image: tf.Tensor) -> tuple:
    """Return a graph's operations, which tensors they read, and the graph, which keeps those alive.

    This takes longer than an answer, but it tells whether a random model is still the same.
    """
    graph = tf.function(lambda x: logits_of(model, x), autograph=False).get_concrete_function(image).graph
    operations = graph.as_graph_def().SerializeToString(deterministic=True)
    return operations, [id(tensor) for tensor, _ in graph.captures], graph


def _alike(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    """Return whether two arrays agree, up to rounding: a part of their largest value."""
    if one.shape != other.shape:
        return False
    scale = np.max(np.abs(one), initial=0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale, equal_nan=True))
