"""CIFAR-10, and an embedded stand-in for machines that cannot have it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
