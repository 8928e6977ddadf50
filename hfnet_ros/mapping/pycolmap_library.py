"""pycolmap, or an error that says how to make a map without it here: it has no wheels for Linux on ARM.

Modules that need it import it from here, so that whoever asks for a map gets that error before any work is done.
"""

import signal
import threading

from hfnet_ros.errors import MappingError

_on_sigterm = signal.getsignal(signal.SIGTERM)
try:
    import pycolmap
except ImportError as error:
    raise MappingError(
        f"making or extending a map needs pycolmap, which cannot be imported ({error}). Where it has wheels (x86_64): "
        "pip install pycolmap. It has none for aarch64: make the map on a PC and copy its folder, since localizing "
        "does not need pycolmap; or, with COLMAP and a compiler, pip install 'hfnet_ros[mapping]'"
    ) from error
# Its logging takes SIGTERM for a crash and prints a native stack: a terminated build would not clean up behind itself.
if _on_sigterm is not None and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _on_sigterm)

__all__ = ["pycolmap"]
