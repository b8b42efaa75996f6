"""Check an HDF5 file of weights before Keras reads it."""

from __future__ import annotations

from pathlib import Path

import h5py

from ..settings import CourseError, one_line

_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
"""The filters that HDF5 brings along. For another it would look for a library on this machine."""


class NoWeights(CourseError):
    """An HDF5 file that is whole, but holds something else than the weights of a network."""


def check(path: Path, most: int) -> None:
    """Check that a file holds arrays of numbers only, all of them whole.

    A whole Keras model with a Lambda layer is refused, because such a layer is code.

    Args:
        path: the file.
        most: how many bytes the arrays may have together. A file may declare any size without having it.

    Raises:
        NoWeights: it holds something else.
        CourseError: it is truncated or damaged, or no HDF5 file.
    """
    try:
        with h5py.File(path) as file:
            if "Lambda" in str(file.attrs.get("model_config", "")):
                raise NoWeights(
                    f"{path.name} holds a model with a Lambda layer, which is code; save the weights alone "
                    "(model.save_weights) and name that file"
                )
            arrays = _arrays_of(file, path.name)
            if sum(array.nbytes for array in arrays) > most:
                raise NoWeights(f"{path.name} holds far more numbers than this network has; check the path")
            for array in arrays:
                array[()]
    except CourseError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise CourseError(
            f"the weight file {path.name} is truncated or damaged ({one_line(error)}); "
            "fetch or train it again"
        ) from error


def _arrays_of(file: h5py.File, name: str) -> list[h5py.Dataset]:
    """Return all arrays of a file.

    Raises:
        NoWeights: one of them is no array of numbers, or lies outside the file.
    """
    found, links = [], []
    file.visititems_links(lambda _, link: links.append(link))
    file.visititems(lambda _, item: found.append(item))
    arrays = [item for item in found if isinstance(item, h5py.Dataset)]
    for array in arrays:
        settings = array.id.get_create_plist()
        filters = {settings.get_filter(k)[0] for k in range(settings.get_nfilters())}
        if array.dtype.kind not in "biuf" or array.external or array.is_virtual or filters - {*_FILTERS}:
            raise NoWeights(f"{name} holds something else than numbers; choose a file of weights")
    if not all(isinstance(link, h5py.HardLink) for link in links):
        raise NoWeights(f"{name} refers to other files or places; choose a file of weights")
    return arrays
