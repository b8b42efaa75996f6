"""FGSM and PGD as the paper has them: pure functions of a model and images that return attacked images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
