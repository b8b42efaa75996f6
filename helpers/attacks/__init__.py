"""Attacks as pure functions: a model, images and labels in, attacked images out. One attack a file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
