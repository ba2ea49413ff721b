"""Fixtures that every test may use."""

from tests.support.counts import pytest_terminal_summary
from tests.support.naming import pytest_make_parametrize_id
from tests.support.servers import (
    fresh_database,
    kafka_prefix,
    kafka_server,
    own_kafka_server,
    own_postgres_server,
    postgres_server,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_unconfigure,
)

__all__ = ["fresh_database", "kafka_prefix", "kafka_server", "own_kafka_server", "own_postgres_server"]
__all__ += ["postgres_server", "pytest_collection_finish", "pytest_collection_modifyitems", "pytest_configure"]
__all__ += ["pytest_make_parametrize_id", "pytest_terminal_summary", "pytest_unconfigure"]
