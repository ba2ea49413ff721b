"""Probes and metrics: ready means progress; the text is what Prometheus reads."""

from ingest.measures import Measures
from services.runtime.health import PartitionHealth, WorkerHealth
from services.web.operations import Metric, prometheus_text, readiness, worker_metrics

NOW = 1_795_358_000_000


def partition(
    *,
    lag: int | None = 0,
    waiting: int = 0,
    next_wake: int | None = None,
    stuck: float = 0.0,
    trouble: str | None = None,
) -> PartitionHealth:
    """A partition that is well unless told otherwise."""
    return PartitionHealth(
        partition=2,
        positions={"parcours.events": 7},
        lag={"parcours.events": lag, "parcours.routed": 1},
        clock=NOW,
        clock_lag=5_250,
        next_wake=next_wake,
        timer_lag=0,
        outbox=3,
        waiting=waiting,
        commit_age=0.5,
        stuck=stuck,
        trouble=trouble,
    )


def worker(*partitions: PartitionHealth, assigned: bool = True, poll_age: float | None = 0.1) -> WorkerHealth:
    """A worker of the stage engine."""
    return WorkerHealth(
        processor="stage_engine", assigned=assigned, member_for=1.0, poll_age=poll_age, partitions=partitions
    )


def test_a_process_without_workers_is_ready() -> None:
    assert readiness([]).ready


def test_every_worker_must_make_progress() -> None:
    answer = readiness([worker(partition()), worker(partition(stuck=31.0, trouble="storage_unavailable"))])
    assert not answer.ready
    assert answer.problems == ["stage_engine, partition 2: no progress (storage_unavailable)"]
    assert not readiness([worker(assigned=False, poll_age=None)]).ready


def test_what_is_left_to_do_counts_records_unread_and_read_and_unknown_is_not_nothing() -> None:
    (shown,) = readiness([worker(partition(lag=4, waiting=2))]).workers[0].partitions
    assert (shown.lag, shown.unpublished, shown.clock) == (7, 3, "2026-11-22T14:33:20.000Z")
    (shown,) = readiness([worker(partition(lag=None))]).workers[0].partitions
    assert shown.lag is None


def test_an_instant_is_due_once_the_clock_has_reached_it() -> None:
    wakes = (NOW - 1, NOW, NOW + 1, None)
    due = [readiness([worker(partition(next_wake=wake))]).workers[0].partitions[0].due for wake in wakes]
    assert due == [True, True, False, False]


def test_metrics_are_written_in_prometheus_text_with_escaped_labels() -> None:
    metric = Metric("things_total", "counter", "things seen", [({"name": 'a"b\\c\nd'}, 1_234_567_890.0), ({}, 0.25)])
    assert prometheus_text([metric]) == (
        "# HELP parcours_things_total things seen\n"
        "# TYPE parcours_things_total counter\n"
        'parcours_things_total{name="a\\"b\\\\c\\nd"} 1234567890\n'
        "parcours_things_total 0.25\n"
    )


def test_a_histogram_is_one_metric_of_that_type() -> None:
    measures = Measures(lambda: 4.0)
    measures.answered("batch", 200, 3.98)
    families = [family for family in measures.families(0) if family.name == "ingest_request_seconds"]
    lines = prometheus_text([Metric(*family) for family in families]).splitlines()
    assert lines[1] == "# TYPE parcours_ingest_request_seconds histogram"
    assert lines[2] == 'parcours_ingest_request_seconds_bucket{kind="batch",status="2xx",le="0.005"} 0'
    assert lines[-3] == 'parcours_ingest_request_seconds_bucket{kind="batch",status="2xx",le="+Inf"} 1'
    assert lines[-2].startswith('parcours_ingest_request_seconds_sum{kind="batch",status="2xx"} 0.02')
    assert lines[-1] == 'parcours_ingest_request_seconds_count{kind="batch",status="2xx"} 1'
    assert [line for line in lines[2:] if line.startswith("#")] == []


def test_workers_are_measured_per_processor_partition_and_topic() -> None:
    text = prometheus_text(worker_metrics([worker(partition(lag=4))]))
    assert 'parcours_worker_ready{processor="stage_engine",member="0"} 1' in text
    assert 'parcours_lag_records{processor="stage_engine",partition="2",topic="parcours.events"} 4' in text
    assert 'parcours_unpublished_records{processor="stage_engine",partition="2"} 3' in text
    assert 'parcours_clock_lag_seconds{processor="stage_engine",partition="2"} 5.25' in text
    unknown = prometheus_text(worker_metrics([worker(partition(lag=None))]))
    assert 'topic="parcours.events"' not in unknown
