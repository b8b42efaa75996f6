"""One image, one attack, one look: what notebooks/explorer.ipynb computes. Its controls are in explorer_widgets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
