"""Python's log records in ROS's log."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class RosLogHandler(logging.Handler):
    """Passes records on to a node's logger, which prints them and publishes /rosout."""

    def __init__(self, logger: RcutilsLogger) -> None:
        """Take the node's logger."""
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record under its level.

        rclpy ties a severity to the line that calls it, so each level has a line of its own.
        """
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)
