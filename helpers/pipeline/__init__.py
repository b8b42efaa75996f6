"""The paper's steps, one function each. A step computes whatever the artifact store does not have yet.

    run = pipeline.start(dataset="cifar10", model="resnet20", profile="quick")
    images = pipeline.inputs(run, "test", "pgd")     # section 2, Adversarial Attacks
    ae, history = pipeline.autoencoder(run)          # section 2, Preprocessing
    tuned, history = pipeline.fine_tuned(run)        # section 2, Fine-Tuning
    records = pipeline.static_table(run)             # section 3, Tables 2 and 3

The store keeps each result under everything that it depends on, so any notebook can call any of these.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
