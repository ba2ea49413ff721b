"""Real servers on this machine, from packages: Apache Kafka (KRaft) and PostgreSQL, for tests and `make cluster`.

Each listens on a free port of the loopback address and keeps its data in a folder of its own, usually a temporary one.
"""

from localservers.certificates import Certificates
from localservers.kafka import KafkaServer, Locks
from localservers.postgres import PostgresServer
from localservers.processes import LocalServerFailed
from localservers.tls_front import TlsFront

__all__ = ["Certificates", "KafkaServer", "LocalServerFailed", "Locks", "PostgresServer", "TlsFront"]
