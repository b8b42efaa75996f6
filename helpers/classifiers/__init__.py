"""The course's classifiers, most of them tf2cv's: images float32 [n, 32, 32, 3] in [0, 1] in, logits out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
