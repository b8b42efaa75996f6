"""Checks of the exercises. None of them stops the notebook.

Each says in words whether an answer is right, what is wrong with it, or that it is not done yet.

    from helpers.exercises import check_fgsm
    check_fgsm(fgsm)

A module holds checks of one notebook: starting (00), attacking (01), denoising (02), bottlenecks and
searching (03), tuning (04), results (05), diagnosing and breaking (06), certifying, judging and repairing
(07), sweeping (08). They share verdict (how a check asks and answers), predicates (what answers must
satisfy), and the networks and images in toys and toy_pictures. To add exercises, write such a module, add it
to checks.MODULES, and write notebooks/solutions/NN_*.ipynb.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
