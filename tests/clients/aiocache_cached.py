"""aiocache over strata: functions whose results are kept, and forgotten by pattern.

usage: aiocache_cached.py PORT
"""

import asyncio
import sys
from importlib.metadata import version

from aiocache import Cache, RedisCache, cached, multi_cached
from aiocache.lock import RedLock
from aiocache.serializers import JsonSerializer

PORT = int(sys.argv[1])
REDIS = {"endpoint": "127.0.0.1", "port": PORT, "serializer": JsonSerializer()}
asked = []


# The result is kept for a minute, as users:profile:<id>.
@cached(
    ttl=60,
    cache=Cache.REDIS,
    namespace="users",
    key_builder=lambda function, user: f"profile:{user}",
    **REDIS,
)
async def profile(user):
    asked.append(user)
    return {"id": user, "name": f"user {user}"}


# A list of keys, of which only those that are not kept are asked for.
@multi_cached("users", ttl=60, cache=Cache.REDIS, namespace="names", **REDIS)
async def names(users):
    asked.extend(users)
    return {user: f"user {user}" for user in users}


async def forget(pattern):
    """Everything by the pattern goes."""
    async with RedisCache(**REDIS) as cache:
        names = await cache.raw("keys", pattern)
        return await cache.raw("delete", *names) if names else 0


async def main():
    for _ in range(3):
        for user in range(5):
            assert await profile(user) == {"id": user, "name": f"user {user}"}
    assert asked == [0, 1, 2, 3, 4], asked

    assert await forget("users:profile:[12]") == 2
    for user in range(5):
        await profile(user)
    assert asked[5:] == [1, 2], asked
    await profile.cache.clear(namespace="users")
    await profile(0)
    assert asked[7:] == [0], asked

    asked.clear()
    assert await names(["a", "b"]) == {"a": "user a", "b": "user b"}
    assert await names(["a", "b", "c"]) == {"a": "user a", "b": "user b", "c": "user c"}
    assert asked == ["a", "b", "c"], asked

    async with RedisCache(**REDIS) as cache:
        # Of those who add a key at once, one does.
        added = await asyncio.gather(*(cache.add("once", n, ttl=60) for n in range(10)), return_exceptions=True)
        assert added.count(True) == 1 and sum(isinstance(one, ValueError) for one in added) == 9, added

        # A herd asks once: the others wait for the lock of the first. Who finds it taken before the first knows that
        # it has it does not wait for it, by aiocache's code: so the first goes ahead.
        taken = asyncio.Event()

        async def one():
            async with RedLock(cache, "herd", lease=5):
                taken.set()
                if await cache.get("herd") is None:
                    asked.append("herd")
                    await asyncio.sleep(0.02)
                    await cache.set("herd", 1, ttl=60)

        first = asyncio.create_task(one())
        await taken.wait()
        await asyncio.gather(first, *(one() for _ in range(10)))
        assert asked.count("herd") == 1, asked
        assert await cache.increment("counter", 3) == 3 and await cache.expire("counter", 100)
    print(f"aiocache {version('aiocache')}: @cached, @multi_cached, invalidated by pattern and by namespace, a lock")


asyncio.run(main())
