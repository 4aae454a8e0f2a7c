"""RQ over strata: a queue, a worker that forks for every job, results, errors, retries, dependencies, a schedule.

usage: rq_work.py PORT
"""

import sys
import time
from datetime import timedelta

import redis
import rq
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from rq.scheduler import RQScheduler

JOBS = 10


def add(a, b):
    return a + b


def refuse():
    raise ValueError("no")


def succeed_at_last(port):
    """Fails once."""
    if redis.Redis(host="127.0.0.1", port=port).incr("attempts") < 2:
        raise ValueError("not yet")
    return "at last"


def main():
    port = int(sys.argv[1])
    connection = redis.Redis(host="127.0.0.1", port=port)
    queue = rq.Queue("work", connection=connection)
    # Jobs are imported by name, by another process.
    jobs = [queue.enqueue("rq_work.add", n, n) for n in range(JOBS)]
    dependent = queue.enqueue("rq_work.add", 1, 1, depends_on=jobs)
    refused = queue.enqueue("rq_work.refuse")
    retried = queue.enqueue("rq_work.succeed_at_last", port, retry=rq.Retry(max=2))
    later = queue.enqueue_in(timedelta(seconds=1), "rq_work.add", 3, 4)
    assert queue.count == JOBS + 2 and dependent.get_status() == "deferred"

    worker = rq.Worker([queue], connection=connection)
    assert worker.work(burst=True, logging_level="WARNING")
    assert [job.latest_result().return_value for job in jobs] == [2 * n for n in range(JOBS)]
    assert dependent.latest_result().return_value == 2
    assert refused.get_status() == "failed" and "ValueError: no" in refused.latest_result().exc_string
    assert retried.latest_result().return_value == "at last"
    assert FailedJobRegistry(queue=queue).get_job_ids() == [refused.id]
    assert FinishedJobRegistry(queue=queue).count == JOBS + 2

    scheduler = RQScheduler([queue], connection=connection)
    scheduler.acquire_locks()
    deadline = time.monotonic() + 10
    while later.get_status(refresh=True) == "scheduled":
        assert time.monotonic() < deadline, "the scheduled job is not enqueued"
        scheduler.enqueue_scheduled_jobs()
        time.sleep(0.1)
    scheduler.release_locks()
    assert rq.Worker([queue], connection=connection).work(burst=True, logging_level="WARNING")
    assert later.latest_result().return_value == 7
    assert queue.count == 0 and rq.Worker.all(connection=connection) == []
    print(f"rq {rq.__version__}: {JOBS + 4} jobs, one after the others, one retried, one failed, one scheduled")


if __name__ == "__main__":
    main()
