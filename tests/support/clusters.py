"""Room for a cluster-shaped system on the run's own servers: an empty database, and names of its own on Kafka."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.support.servers import KafkaAddress, PostgresAddress
from tests.support.system import Cluster

__all__ = ["room"]


@contextmanager
def room(kafka: KafkaAddress, postgres: PostgresAddress) -> Iterator[Cluster]:
    """A database that is dropped at the end, and a prefix that nobody else uses."""
    name = f"t_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        url = urlsplit(postgres.url)._replace(path=f"/{name}").geturl()
        yield Cluster(url, kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:12]}-")
    finally:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
