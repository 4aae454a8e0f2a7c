"""A Redlock over three stratas, each before a home of its own, and redis-py's locks over one.

usage: redlock_locks.py PORT PORT PORT
"""

import sys
import threading
import time
from importlib.metadata import version

import redis
from redlock import Redlock

PORTS = [int(port) for port in sys.argv[1:4]]
THREADS = 6
ROUNDS = 20


def manager(ports, retries=3):
    servers = [{"host": "127.0.0.1", "port": port, "db": 0} for port in ports]
    return Redlock(servers, retry_count=retries, retry_delay=0.01)


def quorum():
    one, two = manager(PORTS), manager(PORTS)
    held = one.lock("resource", 1000)
    assert held and held.validity > 0
    assert two.lock("resource", 1000) is False, "two hold the lock"
    one.unlock(held)
    held = two.lock("resource", 100)
    assert held, "the lock was not given back"
    time.sleep(0.15)
    again = one.lock("resource", 1000)
    assert again, "the lock did not expire"
    two.unlock(held)
    assert two.lock("resource", 1000) is False, "who lost the lock gave back another's"
    one.unlock(again)

    # Two of three are enough, one is not: somebody else has the others.
    others = [redis.Redis(host="127.0.0.1", port=port) for port in PORTS]
    others[0].set("resource", "another's")
    held = one.lock("resource", 1000)
    assert held, "the majority did not give the lock"
    one.unlock(held)
    others[1].set("resource", "another's")
    assert one.lock("resource", 1000) is False, "a minority gave the lock"
    assert [r.get("resource") for r in others] == [b"another's", b"another's", None]


def exclude(acquire, release):
    """Threads that add to a number, each while it holds the lock; returns how often two held it at once."""
    inside, together, done = [0], [0], [0]

    def work():
        for _ in range(ROUNDS):
            held = acquire()
            inside[0] += 1
            together[0] += inside[0] != 1
            time.sleep(0.0002)
            inside[0] -= 1
            done[0] += 1
            release(held)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done[0] == THREADS * ROUNDS, done
    return together[0]


def contend():
    locks = manager(PORTS, retries=10_000)
    assert exclude(lambda: locks.lock("contended", 5000), locks.unlock) == 0


def redis_py():
    r = redis.Redis(host="127.0.0.1", port=PORTS[0])

    def acquire():
        lock = r.lock("one", timeout=5, sleep=0.002, blocking_timeout=20)
        assert lock.acquire()
        return lock

    assert exclude(acquire, lambda lock: lock.release()) == 0
    lock = acquire()
    assert lock.owned() and lock.extend(5) and 8000 < r.pttl("one") <= 10_000 and lock.reacquire()
    assert r.pttl("one") <= 5000 and r.delete("one") == 1
    try:
        lock.release()
    except redis.exceptions.LockNotOwnedError:
        pass
    else:
        raise AssertionError("a lock that was lost was given back")


for step in (quorum, contend, redis_py):
    step()
print(
    f"redlock-py {version('redlock-py')}: a majority of three; {THREADS} threads, {ROUNDS} times each, never two at "
    "once, nor by redis-py's lock"
)
