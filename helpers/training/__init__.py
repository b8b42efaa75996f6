"""One training loop for every network of the course, and what each of them is trained with."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
