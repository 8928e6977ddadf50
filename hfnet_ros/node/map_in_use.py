"""The map in use, and the thread that localizes in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, EngineError
from hfnet_ros.node.memory import return_memory
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.tracking.live import LiveRelocalizer, OpenLocalizer
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.types import Answer, ImageLocalizer, ReportProgress

# An engine that is in the cache, or runs on the CPU, is mostly ready by then; what has failed by then is
# a failure of the transition. Nav2's lifecycle manager waits 5 s for a transition, in later versions.
PATIENCE_S = 2.0
# The building of an engine can be called off between two steps, and some of them take minutes.
CALLING_OFF_S = 1.0
_STOP_S = 10.0  # for the image in work

_logger = logging.getLogger(__name__)


class MapInUse:
    """Exchanges maps and engines, one change at a time; all methods may be called by any thread.

    Attributes:
        served: the map; None while there is none. While images are localized only their thread
            exchanges it, so that an answer goes with its map.
        live: what localizes in it while active; None without a map.
        is_configured: maps are taken.
        is_active: images are taken.
        engine_problem: why the engine could not be made ready last time; empty if it could.
    """

    def __init__(
        self,
        config: Config,
        odometry: Odometry,
        on_answer: Callable[[Answer], None],
        on_ready: Callable[[ServedMap], None],
        give_up: Callable[[], None],
    ) -> None:
        """Begin without a map.

        Args:
            config: the parameters.
            odometry: filled by somebody else.
            on_answer: see `LiveRelocalizer`.
            on_ready: called when a map is in use and its engine is ready, by whichever thread that is.
            give_up: called by the localizing thread when the engine cannot be made ready, after
                `activate` has returned.
        """
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._on_ready = on_ready
        self._give_up = give_up
        self.served: ServedMap | None = None
        self.live: LiveRelocalizer | None = None
        self.is_configured = self.is_active = False
        self.engine_problem = ""
        self._loading = threading.Lock()  # one map is read at a time; nothing else waits for that
        self._swap = threading.Lock()  # never held while a map is read or an engine is prepared

    @property
    def has_failed(self) -> bool:
        """Tell whether the engine cannot be made ready, as `give_up` was told."""
        live = self.live
        return live is not None and bool(live.failure)

    @property
    def not_ready(self) -> str:
        """Return why no image is localized while active, for people; empty if images are."""
        live = self.live
        if live is None:
            return ""
        if live.failure:
            return f"the engine could not be made ready: {live.failure}"
        pending = live.pending
        return f"the engine is not ready yet: {pending}" if pending is not None else ""

    @property
    def refusal(self) -> str:
        """Return why an image or a request is refused: as `not_ready`, but what is over soon is waited for."""
        live = self.live
        pending = live.pending if live is not None else None
        return "" if pending is not None and pending.elapsed_s < PATIENCE_S else self.not_ready

    def configure(self, path: str) -> None:
        """Load the map, if one is named.

        Raises:
            MapFormatError: it cannot be used.
        """
        served = ServedMap.load(path) if path else None
        with self._swap:
            self.served = served
            self.is_configured = True

    def activate(self) -> None:
        """Start the engine and wait a little until it is ready; what takes longer goes on by itself.

        Raises:
            EngineError: the network cannot be loaded, and that was known soon.
        """
        with self._swap:
            self.engine_problem = ""
            self.is_active = True
            served = self.served
            live = self.live = self._create_live(served) if served is not None else None
        if live is None or served is None:
            return
        try:
            is_ready = live.start(PATIENCE_S)
        except BaseException as error:
            self.is_active = False
            self._drop(live, error)
            raise
        if is_ready:
            self._on_ready(served)
        else:
            _logger.info("active, but %s", self.not_ready)

    def deactivate(self) -> None:
        """Stop localizing and free the engine."""
        with self._swap:
            self.is_active = False
            live, self.live = self.live, None
        if live is None:
            return
        pending = live.pending
        if not live.stop(_STOP_S if pending is None else CALLING_OFF_S):
            if pending is None:
                _logger.error("the localizing thread does not end: it is still busy with an image")
            else:
                _logger.warning("called off, but goes on in the background until its next step: %s", pending)
        return_memory()

    def cleanup(self) -> None:
        """Drop the map."""
        self.deactivate()
        with self._swap:
            self.is_configured = False
            self.served, self.engine_problem = None, ""

    def set_config(self, config: Config) -> None:
        """Use other parameters, those of the engine from the next activation on."""
        with self._swap:
            self._config = config
            if self.live is not None:
                self.live.set_config(config)

    def replace(self, path: str) -> None:
        """Use another map, and wait until that is done, however long its engine takes.

        Raises:
            HfnetRosError: it cannot be used; the old one, if any, stays in use.
        """
        refusal = self.refusal
        if refusal:
            raise EngineError(f"{refusal}; ask again when it is ready")
        with self._loading:
            served = ServedMap.load(path)
            started = None
            with self._swap:
                if not self.is_configured:
                    raise ConfigError(
                        "the node is not configured, so that no map is in use; configure it first"
                    )
                running, before = self.live, self.served
                if running is None:
                    self.served = served
                    started = self.live = self._create_live(served) if self.is_active else None
            if running is not None:
                running.replace_localizer(self._exchanging_opener(running, served))
            elif started is not None:
                self._start(started, served, before)
        self.engine_problem = ""
        if self.is_active:
            self._on_ready(served)

    def _start(self, live: LiveRelocalizer, served: ServedMap, before: ServedMap | None) -> None:
        try:
            live.start()
        except BaseException as error:
            self._drop(live, error)
            with self._swap:
                if self.served is served:
                    self.served = before
            raise

    def _create_live(self, served: ServedMap) -> LiveRelocalizer:
        return LiveRelocalizer(
            served.opener(self._config), self._config, self._odometry, self._on_answer, self._note_opened
        )

    def _note_opened(self, live: LiveRelocalizer, error: Exception | None) -> None:
        """Say that the engine is ready, or cannot be, long after its start; called by its thread."""
        served = self.served
        if self.live is not live or served is None:
            return
        if error is None:
            _logger.info("the engine is ready: %s", served.backend)
            self._on_ready(served)
            return
        self.engine_problem = str(error)
        _logger.error("the engine could not be made ready: %s", error)
        self._give_up()

    def _drop(self, live: LiveRelocalizer, error: BaseException) -> None:
        with self._swap:
            if self.live is live:
                self.live = None
            self.engine_problem = str(error)

    def _exchanging_opener(self, live: LiveRelocalizer, served: ServedMap) -> OpenLocalizer:
        """Return an opener after which answers are in another map; it runs between two images."""
        open_localizer = served.opener(self._config)

        def open_and_exchange(report: ReportProgress) -> tuple[ImageLocalizer, Callable[[], None]]:
            localizer, close = open_localizer(report)
            with self._swap:
                if self.live is live:
                    self.served = served
                    return localizer, close
            close()
            raise EngineError("the node was deactivated before the map could be used")

        return open_and_exchange
