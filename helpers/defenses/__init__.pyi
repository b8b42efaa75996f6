from .autoencoder import build_autoencoder as build_autoencoder
from .autoencoder import defended as defended
