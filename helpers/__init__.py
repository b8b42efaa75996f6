"""What the notebooks import: data, classifiers, attacks, defenses, training, evaluation.

tf2cv needs Keras 2. TensorFlow offers it as ``tf_keras``, but only if ``TF_USE_LEGACY_KERAS=1`` is set
*before* it is imported. This package sets that variable, so import it first.
"""

import os
import sys

# This keeps TensorFlow's messages at start-up out of the notebooks.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if "tensorflow" in sys.modules:
    import tensorflow.keras.layers as _layers  # tells which Keras TensorFlow chose when it was imported

    if not _layers.Layer.__module__.startswith("tf_keras"):
        raise ImportError(
            "TensorFlow was imported before helpers and has taken Keras 3, with which tf2cv does not work. "
            "Restart the kernel and import helpers first, or set TF_USE_LEGACY_KERAS=1 before importing "
            "TensorFlow."
        )
os.environ["TF_USE_LEGACY_KERAS"] = "1"

__version__ = "1.0.0"
