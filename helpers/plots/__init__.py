"""Figures. Each function draws one and returns it; show displays it with its alternative text."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
