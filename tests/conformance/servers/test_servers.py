"""The servers that the other tests lean on."""

from collections.abc import Callable

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from localservers import KafkaServer, PostgresServer
from tests.support.servers import KafkaAddress, PostgresAddress


async def test_apache_kafka_of_the_fourth_generation_makes_topics(
    kafka_server: KafkaAddress, kafka_prefix: str
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(f"{kafka_prefix}made", 4, 1)])
        assert f"{kafka_prefix}made" in await admin.list_topics()
        await admin.delete_topics([f"{kafka_prefix}made"])
    finally:
        await admin.close()


def test_postgresql_is_version_18(postgres_server: PostgresAddress) -> None:
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.info.server_version // 10_000 == 18


def test_databases_of_one_test_are_empty_and_apart(fresh_database: Callable[[], str]) -> None:
    one, other = fresh_database(), fresh_database()
    with psycopg.connect(one) as connection:
        connection.execute("CREATE TABLE only_here (n int)")
    with psycopg.connect(other) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)


def test_a_killed_postgresql_starts_again_with_its_data(own_postgres_server: PostgresServer) -> None:
    with psycopg.connect(own_postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    own_postgres_server.kill()
    assert own_postgres_server.pid is None
    own_postgres_server.start()
    with psycopg.connect(own_postgres_server.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


async def test_a_killed_apache_kafka_starts_again_with_its_topics(own_kafka_server: KafkaServer) -> None:
    for step in ("make", "find"):
        admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka_server.bootstrap_servers)
        await admin.start()
        try:
            if step == "make":
                await admin.create_topics([NewTopic("kept", 1, 1)])
            else:
                assert "kept" in await admin.list_topics()
        finally:
            await admin.close()
        if step == "make":
            own_kafka_server.kill()
            own_kafka_server.start()
