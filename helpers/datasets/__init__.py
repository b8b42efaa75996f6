"""CIFAR-10, and a built-in substitute for machines that do not have it.

Images are stored as uint8 NHWC and handed out as float32 in [0, 1].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
