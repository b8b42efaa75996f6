"""The paper's steps, one function each; what a step needs and does not find, it computes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
