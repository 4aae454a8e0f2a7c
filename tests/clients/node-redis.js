// node-redis against strata and against a bare redis-server: node-redis.js PORT_OF_STRATA SOCKET_OF_REDIS
"use strict";

const { createClient } = require("redis");
const { compare, outcome, program } = require("./compare.js");

const groups = {
    async strings(r) {
        const found = [await r.set("k", "v"), await r.get("k"), await r.get("k"), await r.get("nothing")];
        found.push(await r.mSet({ a: "1", b: "2" }), await r.mGet(["a", "nothing", "b"]), await r.incr("a"), await r.get("a"));
        return found;
    },
    async structures(r) {
        const found = [await r.hSet("h", { f: 1, g: 2 }), await r.hGetAll("h"), await r.hGetAll("h")];
        found.push(await r.rPush("l", ["1", "2"]), await r.lRange("l", 0, -1), await r.lPop("l"), await r.lRange("l", 0, -1));
        found.push(await r.zAdd("z", [{ score: 1, value: "one" }, { score: 2.5, value: "two" }]));
        found.push(await r.zRangeWithScores("z", 0, -1), await r.zRangeWithScores("z", 0, -1), await r.zScore("z", "two"));
        found.push(await r.xAdd("x", "1-1", { f: "v" }), await r.xRange("x", "-", "+"), await r.eval("return {1, 'two'}"));
        return found;
    },
    async together(r) {
        const names = Array.from({ length: 200 }, (_, n) => `t:${n}`);
        const written = await Promise.all(names.map((name) => r.set(name, name)));
        return [written, await Promise.all(names.map((name) => r.get(name))), await r.dbSize(), await r.flushDb(), await r.dbSize()];
    },
    async errors(r) {
        await r.rPush("list", "1");
        return [await outcome(() => r.get("list")), await outcome(() => r.sendCommand(["NOTHING", "a"]))];
    },
};

/// A client that is connected, or an error: it would try again for ever.
async function connect(socket, RESP) {
    const client = createClient({ socket: { ...socket, reconnectStrategy: false }, RESP, name: "compared" });
    client.on("error", () => {});
    return client.connect();
}

program(async (port, path) => {
    let compared = 0;
    for (const RESP of [2, 3]) {
        const strata = await connect({ host: "127.0.0.1", port }, RESP);
        const bare = await connect({ path }, RESP);
        compared += await compare(groups, strata, bare);
        await Promise.all([strata.flushAll(), bare.flushAll()]);
        strata.destroy();
        bare.destroy();
    }
    return `${compared} values compared, RESP2 and RESP3`;
});
