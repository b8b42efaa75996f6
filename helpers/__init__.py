"""What the notebooks import: data, classifiers, attacks, autoencoder, training, evaluation.

tf2cv needs Keras 2, which TensorFlow offers as ``tf_keras`` only when ``TF_USE_LEGACY_KERAS=1`` is set *before*
TensorFlow is imported. Importing this package sets it, so import it first.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keep TensorFlow's start-up notes out of the notebooks

if "tensorflow" in sys.modules:
    import tensorflow.keras.layers as _layers  # resolved at TensorFlow's import, so this tells which Keras it took

    if not _layers.Layer.__module__.startswith("tf_keras"):
        raise ImportError(
            "TensorFlow was imported before helpers and has taken Keras 3, with which tf2cv does not work. "
            "Restart the kernel and import helpers first, or set TF_USE_LEGACY_KERAS=1 before importing TensorFlow."
        )
os.environ["TF_USE_LEGACY_KERAS"] = "1"

__version__ = "1.0.0"
