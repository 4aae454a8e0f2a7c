"""Celery with strata as its broker and for its results: a worker of two processes, retries, chords, remote control.

usage: celery_work.py PORT
"""

import os
import signal
import subprocess
import sys
import time

import celery
from celery import chord, group

PORT = os.environ.get("STRATA_PORT") or sys.argv[1]
app = celery.Celery(
    "celery_work", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1"
)
app.conf.update(task_track_started=True, result_expires=60, broker_connection_retry_on_startup=True)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def refuse(word):
    raise ValueError(word)


@app.task(bind=True, max_retries=3)
def succeed_at_last(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


def answered(worker):
    deadline = time.monotonic() + 30
    while not app.control.ping(timeout=0.5):
        assert worker.poll() is None, f"the worker ended with {worker.returncode}"
        assert time.monotonic() < deadline, "no worker answers a ping"


def work():
    assert add.delay(2, 3).get(timeout=10) == 5
    assert succeed_at_last.delay().get(timeout=10) == 2
    try:
        refuse.delay("no").get(timeout=10)
    except ValueError as error:
        assert str(error) == "no"
    else:
        raise AssertionError("the error did not come back")
    assert group(add.s(n, n) for n in range(50))().get(timeout=20) == [2 * n for n in range(50)]
    # The last of the tasks to end starts the sum: counted at the backend, in transactions.
    for _ in range(5):
        assert chord(add.s(n, 1) for n in range(10))(total.s()).get(timeout=20) == 55
    later = add.apply_async((1, 1), countdown=0.3)
    assert later.get(timeout=10) == 2 and later.state == "SUCCESS"
    forgotten = add.delay(1, 2)
    assert forgotten.get(timeout=10) == 3
    forgotten.forget()
    assert app.AsyncResult(forgotten.id).state == "PENDING"


def main():
    # Who ends this program ends its worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    command = [sys.executable, "-m", "celery", "-A", "celery_work", "worker", "--concurrency", "2", "--loglevel", "WARNING"]
    worker = subprocess.Popen(
        command,
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "STRATA_PORT": PORT, "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    try:
        answered(worker)
        work()
    finally:
        worker.terminate()
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            # It leads a session of its own: its processes end with it.
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    print(f"celery {celery.__version__}: 110 tasks, a retry, an error, 5 chords, a ping by remote control")


if __name__ == "__main__":
    main()
