"""django-redis over strata: Django's cache, what django-redis adds to it, and sessions kept in it.

usage: django_cache.py PORT
"""

import sys
import threading

import django
import django_redis
from django.conf import settings

PORT = int(sys.argv[1])
settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{PORT}/1",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache  # noqa: E402


def values():
    assert cache.get("nothing") is None and cache.get("nothing", "else") == "else"
    for value in (1, "text", b"\x00\xff", {"a": [1, 2]}, None, 2.5):
        assert cache.set("k", value) and cache.get("k", "absent") == value and cache.get("k", "absent") == value
    assert cache.add("k", 1) is False and cache.add("new", 1) is True
    assert cache.incr("new") == 2 and cache.decr("new", 2) == 0 and cache.get("new") == 0
    try:
        cache.incr("nothing")
    except ValueError:
        pass
    else:
        raise AssertionError("a key that is absent was incremented")
    assert cache.get_or_set("computed", lambda: 7) == 7 and cache.get_or_set("computed", lambda: 8) == 7
    many = {f"m:{n}": n for n in range(100)}
    cache.set_many(many)
    assert cache.get_many(many) == many and cache.get_many(many) == many
    assert cache.delete("m:0") and "m:0" not in cache and len(cache.get_many(many)) == 99
    assert cache.set("versioned", 1, version=1) and cache.incr_version("versioned") == 2
    assert cache.get("versioned") is None and cache.get("versioned", version=2) == 1


def patterns():
    assert len(cache.keys("m:*")) == 99 and len(list(cache.iter_keys("m:*", itersize=10))) == 99
    assert cache.get("m:5") == 5 and cache.delete_pattern("m:*") == 99
    assert cache.get("m:5") is None and cache.keys("m:*") == []


def times():
    assert cache.set("t", 1, timeout=100) and 98 <= cache.ttl("t") <= 100
    assert cache.touch("t", 1000) and 998 <= cache.ttl("t") <= 1000
    assert cache.persist("t") and cache.ttl("t") is None and cache.ttl("nothing") == 0
    assert cache.set("t", 2, timeout=0) and cache.get("t") is None
    assert cache.set("t", 3, nx=True) and not cache.set("t", 4, nx=True) and cache.get("t") == 3


def locks():
    def add():
        for _ in range(20):
            with cache.lock("lock", timeout=10):
                cache.set("sum", cache.get("sum") + 1)

    cache.set("sum", 0)
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("sum") == 80, cache.get("sum")


def sessions():
    session = SessionStore()
    session["cart"] = ["book"]
    session.save()
    again = SessionStore(session.session_key)
    assert again["cart"] == ["book"]
    old = again.session_key
    again.cycle_key()
    again.save()
    assert not SessionStore().exists(old) and SessionStore(again.session_key)["cart"] == ["book"]
    again.flush()
    assert "cart" not in SessionStore(again.session_key)


for step in (values, patterns, times, locks, sessions):
    step()
cache.clear()
assert cache.keys("*") == []
print(f"django-redis {django_redis.__version__}, Django {django.__version__}: values, patterns, times, locks, sessions")
