"""Topics of an Apache Kafka cluster: made, compared with the table, and known by their limits."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from schemas.topics import TOPICS, TopicSpec
from services.eventlog.kafka_client import Cluster, answering
from services.eventlog.port import LogUnavailable, UnknownTopic
from services.eventlog.topic_lines import FRAMING_BYTES, check_lines, check_partitions, topic_lines

__all__ = ["KafkaTopics", "TopicFacts"]

_ADMIN_SECONDS = 15.0
_REPLICAS = 3
_PAUSE = 0.05


class TopicFacts(NamedTuple):
    """What an append or a reader must know of a topic."""

    partitions: int
    max_record_bytes: int


class KafkaTopics:
    """The topics of one cluster, under this log's prefix."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing is asked before `start`."""
        self._cluster = cluster
        self._admin: AIOKafkaAdminClient | None = None
        self._facts: dict[str, TopicFacts] = {}

    async def start(self, seconds: float) -> None:
        """Connect. Raises `LogUnavailable`."""
        admin = AIOKafkaAdminClient(**self._cluster.options())
        try:
            async with answering(self._cluster, seconds):
                await admin.start()
        except BaseException:
            await admin.close()
            raise
        self._admin = admin

    async def close(self) -> None:
        """Close the connection."""
        if self._admin is not None:
            await self._admin.close()

    def names(self) -> set[str]:
        """The topics of the table, and those that were asked about before."""
        return {spec.name for spec in TOPICS} | set(self._facts)

    def known(self, topic: str) -> TopicFacts | None:
        """What was learned of a topic, or None."""
        return self._facts.get(topic)

    async def learn(self, topics: Iterable[str]) -> Mapping[str, TopicFacts]:
        """The facts of those of `topics` that exist; asks only for what is not known."""
        wanted = list(topics)
        if unknown := [topic for topic in wanted if topic not in self._facts]:
            await self.learn_anew(unknown)
        return {topic: self._facts[topic] for topic in wanted if topic in self._facts}

    async def learn_anew(self, topics: Iterable[str]) -> None:
        """Ask for the facts of `topics`, known or not. Raises `LogUnavailable`."""
        async with answering(self._cluster, _ADMIN_SECONDS):
            partitions = await self._partitions()
            existing = [topic for topic in topics if topic in partitions]
            lines = await self._lines(existing)
        for topic in existing:
            limit = int(lines[topic]["max.message.bytes"]) - FRAMING_BYTES
            self._facts[topic] = TopicFacts(partitions[topic], limit)

    async def create(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        """Make the missing topics after comparing the existing ones; return the names of those made."""
        async with answering(self._cluster, _ADMIN_SECONDS):
            existing = await self._partitions()
            await self._compare([spec for spec in specs if spec.name in existing], existing, partitions)
            missing = [spec for spec in specs if spec.name not in existing]
            if missing:
                made = await self._make(missing, partitions)
                await self._wait_until_led(missing)
                await self._compare(missing, await self._partitions(), partitions)
                return made
        return []

    async def check(self, specs: Sequence[TopicSpec], partitions: int) -> None:
        """Compare without making anything."""
        async with answering(self._cluster, _ADMIN_SECONDS):
            existing = await self._partitions()
            for spec in specs:
                if spec.name not in existing:
                    raise UnknownTopic(
                        f"The topic {spec.name} does not exist. Create the topics with `parcours migrate`."
                    )
            await self._compare(specs, existing, partitions)

    async def _compare(self, specs: Sequence[TopicSpec], existing: Mapping[str, int], partitions: int) -> None:
        lines = await self._lines([spec.name for spec in specs])
        for spec in specs:
            check_partitions(spec.name, existing[spec.name], partitions)
            check_lines(spec.name, lines[spec.name], topic_lines(spec))
            self._facts[spec.name] = TopicFacts(partitions, spec.max_record_bytes)

    async def _make(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        brokers = len((await self._open().describe_cluster())["brokers"])
        replicas = min(_REPLICAS, brokers)
        durability = {"min.insync.replicas": str(max(1, replicas - 1))}
        topics = [
            NewTopic(self._cluster.named(spec.name), partitions, replicas, topic_configs=topic_lines(spec) | durability)
            for spec in specs
        ]
        answer = await self._open().create_topics(topics)
        made: list[str] = []
        for topic, code, *message in answer.topic_errors:
            error = for_code(code)
            if error is NoError:
                made.append(topic.removeprefix(self._cluster.prefix))
            elif error is not TopicAlreadyExistsError:
                raise LogUnavailable(f"Apache Kafka refused to create {topic} ({error.__name__}: {message}).")
        return made

    async def _wait_until_led(self, specs: Sequence[TopicSpec]) -> None:
        """A new topic takes no records before every partition has a leader."""
        names = {self._cluster.named(spec.name) for spec in specs}
        while True:
            led = {
                topic["topic"]
                for topic in await self._open().describe_topics()
                if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
            }
            if names <= led:
                return
            await asyncio.sleep(_PAUSE)

    async def _partitions(self) -> dict[str, int]:
        """Partitions by the port's name of every topic. Asking for one by name could make the broker create it."""
        prefix = self._cluster.prefix
        return {
            topic["topic"].removeprefix(prefix): len(topic["partitions"])
            for topic in await self._open().describe_topics()
            if topic["topic"].startswith(prefix) and topic["partitions"]
        }

    async def _lines(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, self._cluster.named(topic)) for topic in topics]
        found: dict[str, dict[str, str]] = {}
        for answer in await self._open().describe_configs(resources):
            for code, _message, _kind, name, entries in answer.resources:
                error = for_code(code)
                if error is not NoError:
                    raise error(name)
                found[name.removeprefix(self._cluster.prefix)] = {entry[0]: entry[1] for entry in entries}
        return found

    def _open(self) -> AIOKafkaAdminClient:
        if self._admin is None:
            raise LogUnavailable("The log is not started.")
        return self._admin
