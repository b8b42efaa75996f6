"""Accuracy with its uncertainty, records and their titles, and a checklist for evaluations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
