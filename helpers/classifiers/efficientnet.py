"""Networks that tf2cv has for other images only, made fit for ours: 32 x 32 pixels, ten classes.

Each function makes one, untrained; registry.MODELS names them. TensorFlow is imported when one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..backend import keras


def efficientnet_b0() -> keras.Model:
    """EfficientNet-B0 (Tan & Le 2019, "EfficientNet: Rethinking model scaling for convolutional neural networks").

    Of the five times that it halves an ImageNet image of 224 pixels, the first and the last are left out, so that the
    stem sees every pixel and the last feature map is 4 x 4. Channels, kernels and expansions are the paper's. There is
    no dropout: its draws are not in a checkpoint, and training that goes on where it was stopped would end elsewhere
    (training.run).
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
    network.features[0].conv.conv.conv.strides = (
        1,
        1,
    )  # tf2cv's stem has a stride of 2, and no argument for it
    for layer in network.submodules:
        if isinstance(layer, Conv2d) and layer.use_dw_conv:
            # In float32 also where the rest is in bfloat16, in which a processor is slow at depthwise convolutions.
            options = {**layer.dw_conv.get_config(), "dtype": "float32"}
            layer.dw_conv = keras.layers.DepthwiseConv2D.from_config(options)
    return network
