// ioredis against strata and against a bare redis-server: ioredis.js PORT_OF_STRATA SOCKET_OF_REDIS
"use strict";

const assert = require("node:assert");
const Redis = require("ioredis");
const { compare, outcome, program } = require("./compare.js");

const CONNECTIONS = 20;

const groups = {
    async strings(r) {
        const found = [await r.set("k", "v"), await r.get("k"), await r.get("k"), await r.get("nothing")];
        found.push(await r.mset("a", 1, "b", 2), await r.mget("a", "nothing", "b"), await r.incr("a"));
        found.push(await r.getBuffer("a"), await r.set("k", "w", "EX", 100, "GET"), await r.get("k"));
        return found;
    },
    async structures(r) {
        const found = [await r.hset("h", { f: 1, g: 2 }), await r.hgetall("h"), await r.hgetall("h")];
        found.push(await r.rpush("l", 1, 2, 3), await r.lrange("l", 0, -1), await r.lpop("l"), await r.lrange("l", 0, -1));
        found.push(await r.zadd("z", 1, "one", 2.5, "two"), await r.zrange("z", 0, -1, "WITHSCORES"));
        found.push(await r.sadd("s", "a"), await r.smembers("s"), await r.xadd("x", "1-1", "f", "v"), await r.xrange("x", "-", "+"));
        return found;
    },
    async pipelines(r) {
        const pipeline = r.pipeline();
        for (let n = 0; n < 200; n++) {
            pipeline.set(`p:${n}`, n).get(`p:${n}`).incr(`p:${n}`).get(`p:${n}`);
        }
        return pipeline.exec();
    },
    async scripts(r) {
        r.defineCommand("both", { numberOfKeys: 1, lua: "return {KEYS[1], redis.call('INCR', KEYS[1]), ARGV[1]}" });
        return [await r.both("n", "x"), await r.get("n"), await r.both("n", "y"), await r.get("n")];
    },
    async scans(r) {
        const names = [];
        for await (const part of r.scanStream({ match: "p:*", count: 20 })) {
            names.push(...part);
        }
        return [[...new Set(names)].sort(), await r.dbsize(), await r.flushdb(), await r.dbsize()];
    },
    async errors(r) {
        await r.rpush("list", 1);
        const found = [await outcome(() => r.get("list")), await outcome(() => r.call("NOTHING", "a"))];
        found.push(await outcome(() => r.call("GET")), await outcome(() => r.call("SELECT", "99")));
        return found;
    },
};

/// Connections that work at the same time, each of which reads its own writes; commands are gathered automatically.
async function share(port) {
    const options = { host: "127.0.0.1", port, enableAutoPipelining: true, connectionName: "shared" };
    const clients = Array.from({ length: CONNECTIONS }, () => new Redis(options));
    await Promise.all(clients.map(async (r, own) => {
        for (let n = 0; n < 100; n++) {
            await r.set(`own:${own}`, `${own}:${n}`);
            const found = await Promise.all([r.get(`own:${own}`), r.get(`own:${own}`), r.incr("all")]);
            assert.deepStrictEqual(found.slice(0, 2), [`${own}:${n}`, `${own}:${n}`]);
        }
    }));
    assert.strictEqual(await clients[0].get("all"), String(CONNECTIONS * 100));
    clients.forEach((r) => r.disconnect());
}

program(async (port, socket) => {
    const strata = new Redis({ host: "127.0.0.1", port, db: 1 });
    const bare = new Redis({ path: socket, db: 1 });
    const compared = await compare(groups, strata, bare);
    strata.disconnect();
    bare.disconnect();
    await share(port);
    return `${compared} values compared, ${CONNECTIONS} connections`;
});
