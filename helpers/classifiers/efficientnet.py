"""Networks that tf2cv has only for larger images, adapted to 32x32 pixels and ten classes.

Each function builds an untrained network, which registry.MODELS names. TensorFlow is imported only in the
call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend import keras


def efficientnet_b0() -> keras.Model:
    """Build EfficientNet-B0 (Tan & Le 2019) for small images.

    The original halves an ImageNet image of 224 pixels five times. Here the first and the last halving are
    left out, so that the stem sees every pixel and the last feature map is 4x4. Channels, kernels and
    expansions are the paper's. There is no dropout, because checkpoints do not store its random numbers,
    and a resumed training would end elsewhere.
    """
    from tf2cv.models.common import Conv2d
    from tf2cv.models.efficientnet import EfficientNet

    from ..backend import keras

    network = EfficientNet(
        channels=[[16], [24] * 2, [40] * 2, [80] * 3 + [112] * 3, [192] * 4 + [320]],
        kernel_sizes=[[3], [3] * 2, [5] * 2, [3] * 3 + [5] * 3, [5] * 4 + [3]],
        expansion_factors=[[1], [6] * 2, [6] * 2, [6] * 6, [6] * 5],
        strides_per_stage=[1, 2, 2, 2, 1],
        init_block_channels=32,
        final_block_channels=1280,
        dropout_rate=0.0,
        in_size=(32, 32),
        classes=10,
    )
    # tf2cv's stem has a stride of 2, and no argument to change it.
    network.features[0].conv.conv.conv.strides = (1, 1)
    for layer in network.submodules:
        if isinstance(layer, Conv2d) and layer.use_dw_conv:
            # Always float32, because processors are slow at depthwise convolutions in bfloat16.
            options = {**layer.dw_conv.get_config(), "dtype": "float32"}
            layer.dw_conv = keras.layers.DepthwiseConv2D.from_config(options)
    return network
