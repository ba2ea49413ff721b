"""What operators and their tools ask: alive, ready, and the numbers for Prometheus."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastapi import APIRouter, Depends
from fastapi.requests import Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from schemas.problems import ProblemError
from schemas.times import format_instant
from services.runtime.health import PartitionHealth, WorkerHealth
from services.storage.errors import StorageError
from services.storage.keys import Scope
from services.web.auth import Auth
from services.web.problems import problem_responses

__all__ = ["HealthReader", "Metric", "Readiness", "operations_router", "prometheus_text", "readiness", "worker_metrics"]

HealthReader = Callable[[], Sequence[WorkerHealth]]
"""Asks the workers of this process how they are; without workers the answer is empty."""

Sample = tuple[Mapping[str, str], float]


class PartitionReadiness(BaseModel):
    """One partition of a processor: how many records it has yet to read and to publish, and what is due."""

    partition: int
    lag: int | None = Field(description="records on the log that are not processed yet; null: not known yet")
    unpublished: int = Field(description="records stored but not yet on the log")
    due: bool = Field(description="whether an instant is due that has not been run yet")
    clock: str = Field(examples=["2026-11-03T10:00:00.000Z"])


class WorkerReadiness(BaseModel):
    """One worker of a processor."""

    processor: str = Field(examples=["stage_engine"])
    partitions: list[PartitionReadiness]


class Readiness(BaseModel):
    """Whether this process makes progress, and how far each of its workers is."""

    ready: bool
    problems: list[str]
    workers: list[WorkerReadiness]


class Liveness(BaseModel):
    """The process answers."""

    status: str = Field(examples=["alive"])


class Metric:
    """One metric in Prometheus's sense: `kind` is ``gauge``, ``counter`` or ``histogram``; samples are (labels, value).

    The label ``""`` is none: it is what a sample's name has beyond the metric's, as those of a histogram do.
    """

    def __init__(self, name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> None:
        """`name` without the prefix; `meaning` is one line with the unit."""
        self.name = f"parcours_{name}"
        self.kind = kind
        self.meaning = meaning
        self.samples = list(samples)


def _lag(partition: PartitionHealth) -> int | None:
    if any(lag is None for lag in partition.lag.values()):
        return None
    return sum(lag for lag in partition.lag.values() if lag is not None) + partition.waiting


def _due(partition: PartitionHealth) -> bool:
    return partition.next_wake is not None and partition.next_wake <= partition.clock


def readiness(workers: Sequence[WorkerHealth]) -> Readiness:
    """The answer of /readyz."""
    problems = [problem for worker in workers for problem in worker.problems]
    return Readiness(
        ready=not problems,
        problems=problems,
        workers=[
            WorkerReadiness(
                processor=worker.processor,
                partitions=[
                    PartitionReadiness(
                        partition=partition.partition,
                        lag=_lag(partition),
                        unpublished=partition.outbox,
                        due=_due(partition),
                        clock=format_instant(partition.clock),
                    )
                    for partition in worker.partitions
                ],
            )
            for worker in workers
        ],
    )


def worker_metrics(workers: Sequence[WorkerHealth]) -> list[Metric]:
    """Lag, clocks, outbox and health of all workers."""
    owned = [
        ({"processor": worker.processor, "partition": str(partition.partition)}, partition)
        for worker in workers
        for partition in worker.partitions
    ]
    lags = [
        ({**labels, "topic": topic}, float(lag))
        for labels, partition in owned
        for topic, lag in partition.lag.items()
        if lag is not None
    ]
    return [
        Metric("worker_ready", "gauge", "1 while a worker makes progress", (
            ({"processor": worker.processor, "member": str(index)}, float(not worker.problems))
            for index, worker in enumerate(workers)
        )),
        Metric("lag_records", "gauge", "records on the log not processed yet", lags),
        Metric("unpublished_records", "gauge", "records stored but not yet on the log", (
            (labels, float(partition.outbox)) for labels, partition in owned
        )),
        Metric("clock_lag_seconds", "gauge", "wall time minus the clock by which silence counts", (
            (labels, partition.clock_lag / 1000) for labels, partition in owned
        )),
        Metric("timer_lag_seconds", "gauge", "for how long the earliest due instant has been waiting", (
            (labels, partition.timer_lag / 1000) for labels, partition in owned
        )),
        Metric("commit_age_seconds", "gauge", "time since the latest transaction", (
            (labels, partition.commit_age) for labels, partition in owned
        )),
    ]  # fmt: skip


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def prometheus_text(metrics: Iterable[Metric]) -> str:
    """The text format 0.0.4 of Prometheus."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.meaning}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            called = metric.name + labels.get("", "")
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items() if name)
            lines.append(f"{called}{{{inner}}} {value:.15g}" if inner else f"{called} {value:.15g}")
    return "\n".join(lines) + "\n"


def operations_router(
    health: HealthReader, more_metrics: Callable[[], Iterable[Metric]] = tuple, auth: Auth | None = None
) -> APIRouter:
    """Routes /healthz, /readyz and /metrics; `more_metrics` adds what the process counts itself.

    With `auth` the numbers and the reasons are only for those who may read; whether it is alive and ready, for all.
    """
    router = APIRouter(tags=["Operations"])
    guards = [] if auth is None else [Depends(auth.read)]
    guarded = {} if auth is None else problem_responses("unauthorized", "scope")

    @router.get("/healthz", summary="Alive?")
    async def healthz() -> Liveness:
        """Answers as long as the process can answer at all."""
        return Liveness(status="alive")

    @router.get("/readyz", summary="Making progress?", response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz(request: Request) -> JSONResponse:
        """200 while every worker of this process makes progress, else 503 with the reasons."""
        answer = readiness(health())
        shown = answer if auth is None or await _may_read(auth, request) else _bare(answer)
        return JSONResponse(shown.model_dump(), 200 if answer.ready else 503)

    @router.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=PlainTextResponse,
        dependencies=guards,
        responses=guarded,
    )
    async def metrics() -> PlainTextResponse:
        """Prometheus's text format."""
        text = prometheus_text([*worker_metrics(health()), *more_metrics()])
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    return router


async def _may_read(auth: Auth, request: Request) -> bool:
    try:
        await auth.allowed(request, Scope.READ)
    except (ProblemError, StorageError):
        return False
    return True


def _bare(answer: Readiness) -> Readiness:
    return Readiness(ready=answer.ready, problems=[], workers=[])
