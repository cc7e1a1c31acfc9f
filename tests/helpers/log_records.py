"""What a test logs, for those that ask: pytest's own plugin listens to all loggers, a hundred by now, in every test."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest


class Records(logging.Handler):
    """Records as they come, by the names that they have in pytest's own fixture."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    @property
    def text(self) -> str:
        """All of them, each with the traceback of its error."""
        return "\n".join(map(self.format, self.records))

    @property
    def record_tuples(self) -> list[tuple[str, int, str]]:
        return [(record.name, record.levelno, record.getMessage()) for record in self.records]

    @contextmanager
    def at_level(self, level: int | str, logger: str | None = None) -> Iterator[None]:
        """With records from a level on of a logger, else of those that set no level."""
        asked = logging.getLogger(logger)
        before = asked.level
        asked.setLevel(level)
        try:
            yield
        finally:
            asked.setLevel(before)


@pytest.fixture
def caplog() -> Iterator[Records]:
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    with ExitStack() as stack:
        caught = Records()
        for logger in (logging.root, *(each for each in loggers if not each.propagate)):
            stack.enter_context(patch.object(logger, "handlers", [*logger.handlers, caught]))
        yield caught
