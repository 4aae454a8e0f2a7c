"""cashews over strata: functions whose results are kept, and writes that make them forgotten, by pattern.

usage: cashews_cached.py PORT
"""

import asyncio
import sys
from importlib.metadata import version

from cashews import Cache

PORT = int(sys.argv[1])
asked = []


def users(cache):
    """The functions of a small service over `cache`."""
    table = {user: f"user {user}" for user in range(5)}

    # Kept for a minute, as user:<id>:name and user:<id>:page:<number>.
    @cache(ttl="1m", key="user:{user}:name")
    async def name(user):
        asked.append(user)
        return table[user]

    @cache(ttl="1m", key="user:{user}:page:{page}")
    async def page(user, page):
        asked.append((user, page))
        return [table[user], page]

    # Whoever changes a user makes all that was kept of it forgotten.
    @cache.invalidate("user:{user}:*")
    async def rename(user, to):
        table[user] = to

    return name, page, rename


async def remember_and_forget(cache):
    asked.clear()
    name, page, rename = users(cache)
    for _ in range(3):
        assert await name(1) == "user 1" and await name(2) == "user 2"
        assert [await page(1, page=n) for n in range(3)] == [["user 1", n] for n in range(3)]
    assert asked == [1, 2, (1, 0), (1, 1), (1, 2)], asked
    for n in range(20):
        await rename(1, f"renamed {n}")
        assert await name(1) == f"renamed {n}" and (await page(1, page=0))[0] == f"renamed {n}"
    assert await name(2) == "user 2" and asked.count(2) == 1, asked
    await cache.delete_match("user:*")
    await name(2)
    assert asked.count(2) == 2, asked


async def tags_and_locks(cache):
    @cache(ttl="1m", key="article:{number}", tags=["articles"])
    async def article(number):
        asked.append(number)
        return number

    asked.clear()
    for _ in range(2):
        assert [await article(n) for n in range(3)] == [0, 1, 2]
    await cache.delete_tags("articles")
    assert await article(0) == 0 and asked == [0, 1, 2, 0], asked

    @cache.locked(ttl="10s", key="sum")
    async def add():
        await cache.set("sum:value", (await cache.get("sum:value") or 0) + 1)

    await asyncio.gather(*(add() for _ in range(10)))
    assert await cache.get("sum:value") == 10


async def client_side():
    """With a cache in the client too, which Redis tells what changed: another client's change is seen."""
    kept, other = Cache(), Cache()
    kept.setup(f"redis://127.0.0.1:{PORT}/2", client_side=True, protocol=2)
    other.setup(f"redis://127.0.0.1:{PORT}/2", client_side=True, protocol=2)
    await kept.init()
    await other.init()
    for n in range(20):
        await other.set("side", n, expire="1m")
        for _ in range(500):
            if await kept.get("side") == n:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(f"the cache of the client stays behind {n}: {await kept.get('side')}")
    await kept.close()
    await other.close()


async def main():
    cache = Cache()
    cache.setup(f"redis://127.0.0.1:{PORT}/1")
    await remember_and_forget(cache)
    await tags_and_locks(cache)
    await cache.close()
    await client_side()
    print(f"cashews {version('cashews')}: @cache, @cache.invalidate by pattern, tags, locks, client-side caches")


asyncio.run(main())
