"""What an interrupted training goes on from: a folder beside the map that is being made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.errors import ConfigError, MapFormatError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap

_ABOUT, _MAP, _NETWORK = "about.json", "map", "network"
_FORMAT = "hfnet_ros training"


class TrainingFolder:
    """MAP.training beside a map to write: the map before training, and checkpoints of the network.

    What is there is taken if it is of the same images and parameters, and replaced otherwise.

    Attributes:
        path: of the folder.
        is_resumed: an interrupted training of the same is there.
    """

    def __init__(self, target: Path, wanted: Mapping[str, Any]) -> None:
        """Look at what is there and make the folder.

        Args:
            target: the map.
            wanted: all that decides what comes out; plain values.

        Raises:
            ConfigError: something else is there.
        """
        real = Path(os.path.realpath(target))
        self.path = real.with_name(f"{real.name}.training")
        self._key = hashlib.sha256(
            json.dumps([hfnet_ros.__version__, wanted], sort_keys=True, default=str).encode()
        ).hexdigest()
        self.is_resumed = self._key_there() == self._key
        if not self.is_resumed:
            if self.path.exists():
                shutil.rmtree(self.path)
            self.path.mkdir(parents=True)
            with atomic_file(self.path / _ABOUT) as temporary:
                temporary.write_text(json.dumps({"format": _FORMAT, "key": self._key}))
        self.checkpoint.mkdir(exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """Folder for the state of a network in training."""
        return self.path / _NETWORK

    def map_of(self, make: Callable[[], VisualMap]) -> VisualMap:
        """Return the map that was made before the interruption, else make and keep it."""
        if self.is_resumed:
            try:
                return load_map(self.path / _MAP, verify=True)
            except MapFormatError:  # it was interrupted before, or the disk has lost it
                for part in (self.checkpoint, self.path / _MAP):
                    shutil.rmtree(part, ignore_errors=True)
                self.checkpoint.mkdir()
        made = make()
        save_map(made, self.path / _MAP)
        # As it will be read: what is trained on does not depend on whether there was an interruption.
        return load_map(self.path / _MAP)

    @property
    def holds_map(self) -> bool:
        """Tell whether a map was kept."""
        return (self.path / _MAP).is_dir()

    def remove_without_checkpoint(self) -> None:
        """Delete the folder if there is nothing in it to go on from."""
        if not self.holds_map and not any(self.checkpoint.iterdir()):
            self.remove()

    def remove(self) -> None:
        """Delete the folder, when the map is written."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _key_there(self) -> str:
        """Return which training the folder is of; "" where there is none."""
        if not self.path.exists():
            return ""
        try:
            about = json.loads((self.path / _ABOUT).read_text())
            if about["format"] == _FORMAT:
                return str(about["key"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise ConfigError(f"{self.path}: is there and holds no interrupted training; move it away")
