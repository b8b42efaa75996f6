"""One image at a time: attack it, ask a network about it, and show both (notebooks/explorer.ipynb)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
