"""redis-py against strata and against a bare redis-server: the same calls must give the same values.

usage: redis_py.py PORT_OF_STRATA SOCKET_OF_REDIS
"""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

THREADS = 20
ROUNDS = 200


def between(low, high):
    """A check for values that depend on time: the value itself is not compared."""
    return lambda value: low <= value <= high


def strings(r):
    yield r.set("k", "v"), r.set("k", "w", nx=True), r.set("k", "x", get=True)
    yield r.get("k"), r.get("k"), r.get("nothing"), r.get("nothing")
    yield r.mset({"a": 1, "b": "2", "c": b"\x00\xff\r\n"}), r.mget("a", "b", "nothing", "c")
    yield r.mget("a", "b", "nothing", "c"), r.incr("a"), r.incrbyfloat("a", 0.25), r.get("a")
    yield r.append("k", "yz"), r.getrange("k", 1, 2), r.strlen("k"), r.getdel("k"), r.exists("k", "a")
    yield r.set("large", b"x" * 1_000_000), len(r.get("large")), len(r.get("large")), r.delete("large")
    yield r.setbit("bits", 7, True), r.bitcount("bits"), r.getbit("bits", 7), r.type("bits")


def hashes(r):
    yield r.hset("h", mapping={"f": "1", "g": "2"}), r.hgetall("h"), r.hgetall("h"), r.hget("h", "f")
    yield r.hincrby("h", "f", 5), r.hgetall("h"), r.hmget("h", "f", "nothing"), r.hdel("h", "g"), r.hlen("h")
    yield r.hexists("h", "g"), r.hkeys("h"), r.hvals("h"), dict(r.hscan_iter("h")), r.hgetall("nothing")


def lists(r):
    yield r.rpush("l", *range(10)), r.lrange("l", 0, -1), r.lrange("l", 0, -1), r.lpop("l"), r.rpop("l", 2)
    yield r.lrange("l", 0, -1), r.lindex("l", 1), r.llen("l"), r.linsert("l", "before", 3, "x"), r.lpos("l", "x")
    yield r.ltrim("l", 0, 2), r.lrange("l", 0, -1), r.lmove("l", "m", "LEFT", "RIGHT"), r.lrange("m", 0, -1)


def sets(r):
    yield r.sadd("s", "a", "b"), r.sadd("t", "b", "c"), sorted(r.smembers("s")), sorted(r.smembers("s"))
    yield sorted(r.sinter("s", "t")), sorted(r.sunion("s", "t")), r.sismember("s", "a"), r.smismember("s", ["a", "z"])
    yield r.srem("s", "b"), sorted(r.sinter("s", "t")), r.scard("s"), r.sdiffstore("d", "t", "s"), r.scard("d")


def sorted_sets(r):
    yield r.zadd("z", {"one": 1, "two": 2.5, "inf": float("inf")}), r.zrange("z", 0, -1, withscores=True)
    yield r.zrange("z", 0, -1, withscores=True), r.zincrby("z", 3, "one"), r.zrange("z", 0, -1, withscores=True)
    yield r.zscore("z", "two"), r.zscore("z", "nothing"), r.zrank("z", "two"), r.zmscore("z", ["one", "nothing"])
    yield r.zrangebyscore("z", 2, "+inf", withscores=True), r.zpopmin("z"), r.zcard("z"), r.zcount("z", "-inf", 3)
    yield r.geoadd("g", (13.361389, 38.115556, "Palermo")), r.geopos("g", "Palermo", "nowhere"), r.geohash("g", "Palermo")
    yield r.pfadd("p", "a", "b"), r.pfcount("p"), r.pfcount("p", "nothing")


def streams(r):
    yield r.xadd("x", {"f": "1"}, id="1-1"), r.xadd("x", {"f": "2"}, id="2-1"), r.xlen("x"), r.xrange("x"), r.xrange("x")
    yield r.xread({"x": "0"}), r.xrevrange("x", count=1), r.xgroup_create("x", "group", id="0")
    yield r.xreadgroup("group", "me", {"x": ">"}), r.xack("x", "group", "1-1"), r.xpending("x", "group")
    yield r.xinfo_groups("x"), r.xdel("x", "1-1"), r.xrange("x"), r.xtrim("x", maxlen=0), r.xlen("x")


def keys(r):
    for n in range(300):
        r.set(f"scan:{n}", n)
    yield sorted(r.scan_iter("scan:*")), len(r.keys("scan:*")), r.randomkey() is not None
    yield r.delete(*(f"scan:{n}" for n in range(300))), list(r.scan_iter("scan:*")), r.dbsize()
    yield r.set("e", 1, ex=100), between(98, 100)(r.ttl("e")), r.expire("e", 1000), between(998, 1000)(r.ttl("e"))
    yield r.persist("e"), r.ttl("e"), r.ttl("nothing"), r.get("e"), r.pexpire("e", -1), r.get("e")
    yield r.set("o", "v"), r.rename("o", "n"), r.get("o"), r.get("n"), r.object("encoding", "n"), r.copy("n", "c")
    yield r.get("n"), r.unlink("n", "c"), r.get("n"), r.touch("n")


def connection(r):
    one = r.client()
    yield one.client_setname("me"), one.client_getname(), one.client_info()["name"], one.client_id() > 0
    yield one.ping(), one.echo("words"), r.info("server")["redis_version"], "used_memory" in r.info()
    yield r.config_get("maxmemory-policy"), r.command_count(), r.time()[0] > 0, r.dbsize()


def scripts(r):
    sha = r.script_load("return redis.call('GET', KEYS[1])")
    yield sha, r.set("k", "1"), r.evalsha(sha, 1, "k"), r.eval("return {1, 'two', {3}}", 0), r.script_exists(sha)
    yield r.get("k"), r.eval("return redis.call('INCR', ARGV[1])", 0, "k"), r.get("k")
    yield r.register_script("return ARGV[1]")(args=["x"]), r.eval("return redis.call('DEL', 'k')", 0), r.get("k")


def errors(r):
    yield r.rpush("list", 1)
    for call in (
        lambda: r.get("list"),
        lambda: r.execute_command("NOTHING", "a", "b"),
        lambda: r.execute_command("GET"),
        lambda: r.execute_command("OBJECT", "NOTHING", "k"),
        lambda: r.execute_command("SET", "k", "v", "EX", "0"),
        lambda: r.evalsha("0" * 40, 0),
        lambda: r.eval("return redis.error_reply('MINE of my own')", 0),
        lambda: r.execute_command("SELECT", "99"),
    ):
        try:
            yield call()
        except redis.RedisError as error:
            yield type(error).__name__, str(error)


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for n in range(100):
        pipe.set(f"p:{n}", n).get(f"p:{n}").incr(f"p:{n}").get(f"p:{n}")
    yield pipe.execute()
    pipe = r.pipeline(transaction=False)
    for n in range(100):
        pipe.get(f"p:{n}").lpush(f"p:{n}", 1).delete(f"p:{n}").get(f"p:{n}")
    yield [str(value) for value in pipe.execute(raise_on_error=False)]


GROUPS = [strings, hashes, lists, sets, sorted_sets, streams, keys, connection, scripts, errors, pipelines]


def compare(port, socket):
    """Runs every group against both sides, by both protocols; returns how many values were compared."""
    compared = 0
    for protocol in (2, 3):
        for decode in (False, True):
            options = {"protocol": protocol, "decode_responses": decode, "db": protocol}
            # Not all bytes are text.
            options["encoding_errors"] = "replace"
            strata = redis.Redis(host="127.0.0.1", port=port, **options)
            bare = redis.Redis(unix_socket_path=socket, **options)
            for group in GROUPS:
                strata.flushdb(), bare.flushdb()
                for number, (ours, theirs) in enumerate(zip(group(strata), group(bare), strict=True)):
                    assert ours == theirs, f"{group.__name__} {number}, {options}:\n  {ours}\n  {theirs}"
                    compared += len(ours) if isinstance(ours, tuple) else 1
    return compared


def share(port):
    """Threads over one pool of connections: each reads its own writes, and none of all is lost."""
    pool = redis.ConnectionPool(host="127.0.0.1", port=port, max_connections=THREADS, protocol=3)
    failures = []

    def work(own):
        r = redis.Redis(connection_pool=pool)
        for n in range(ROUNDS):
            value = f"{own}:{n}".encode()
            r.set(f"own:{own}", value)
            for found in (r.get(f"own:{own}"), r.get(f"own:{own}"), r.mget(f"own:{own}")[0]):
                if found != value:
                    failures.append((value, found))
            r.incr("all")

    threads = [threading.Thread(target=work, args=(own,)) for own in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = int(redis.Redis(connection_pool=pool).get("all"))
    assert not failures and total == THREADS * ROUNDS, (failures[:3], total)
    return total


def cache(port):
    """A client with a cache of its own: it answers, and is never behind what was acknowledged for long."""
    # redis-py wants a server of 7.4; what it needs of it is older.
    CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
    options = {"host": "127.0.0.1", "port": port, "decode_responses": True}
    reader = redis.Redis(protocol=3, cache_config=CacheConfig(max_size=100), **options)
    writer = redis.Redis(**options)
    for n in range(ROUNDS):
        writer.set("cached", n)
        deadline = time.monotonic() + 5
        while reader.get("cached") != str(n):
            assert time.monotonic() < deadline, f"the cache stays behind {n}"
        assert all(reader.get("cached") == str(n) for _ in range(3))
    assert reader.get_cache().size == 1
    # What the cache has is not asked for again.
    writer.execute_command("CLIENT", "PAUSE", 50, "ALL")
    began = time.monotonic()
    assert reader.get("cached") == str(ROUNDS - 1) and time.monotonic() - began < 0.05
    return ROUNDS


async def wait_together(port):
    r = redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=3)

    async def one(n):
        await r.hset(f"async:{n}", "field", n)
        return int(await r.hget(f"async:{n}", "field"))

    assert await asyncio.gather(*(one(n) for n in range(100))) == list(range(100))
    await r.aclose()


def main():
    port, socket = int(sys.argv[1]), sys.argv[2]
    compared = compare(port, socket)
    total = share(port)
    asyncio.run(wait_together(port))
    changes = cache(port)
    print(
        f"redis-py {redis.__version__}: {compared} values compared, {total} rounds of {THREADS} threads, "
        f"{changes} changes seen by a client's cache"
    )


main()
