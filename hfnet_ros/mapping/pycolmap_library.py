"""pycolmap, or an error that says how to make a map without it here: it has no wheels for Linux on ARM.

Modules that need it import it from here, so that whoever asks for a map gets that error before any work is done.
"""

from hfnet_ros.errors import MappingError

try:
    import pycolmap
except ImportError as error:
    raise MappingError(
        f"making or extending a map needs pycolmap, which cannot be imported ({error}). Where it has wheels (x86_64): "
        "pip install pycolmap. It has none for aarch64: make the map on a PC and copy its folder, since localizing "
        "does not need pycolmap; or, with COLMAP and a compiler, pip install 'hfnet_ros[mapping]'"
    ) from error

__all__ = ["pycolmap"]
