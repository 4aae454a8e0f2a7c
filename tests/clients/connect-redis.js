// Sessions of express-session kept by connect-redis in strata, shared by two web servers: connect-redis.js PORT
"use strict";

const assert = require("node:assert");
const http = require("node:http");
const { promisify } = require("node:util");
const { RedisStore } = require("connect-redis");
const session = require("express-session");
const { createClient } = require("redis");
const { program } = require("./compare.js");

const VISITORS = 10;

/// A client of strata and a store of sessions over it.
async function connect(port) {
    const client = createClient({ socket: { host: "127.0.0.1", port, reconnectStrategy: false } });
    client.on("error", () => {});
    await client.connect();
    return { client, store: new RedisStore({ client, prefix: "sess:", ttl: 60 }) };
}

/// A web server that counts a visitor's visits; /leave ends the session.
function serve(store) {
    const sessions = session({ store, secret: "for this test", resave: false, saveUninitialized: false });
    const server = http.createServer((request, response) => {
        sessions(request, response, (error) => {
            if (error) return response.writeHead(500).end(String(error));
            if (request.url === "/leave") return request.session.destroy((e) => response.end(e ? String(e) : "left"));
            request.session.visits = (request.session.visits ?? 0) + 1;
            response.end(String(request.session.visits));
        });
    });
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/// Visits both servers in turn with one cookie.
async function visit(servers) {
    let cookie;
    for (let n = 0; n < 10; n++) {
        const { port } = servers[n % 2].address();
        const response = await fetch(`http://127.0.0.1:${port}/`, { headers: cookie ? { cookie } : {} });
        cookie ??= response.headers.get("set-cookie").split(";")[0];
        assert.strictEqual(await response.text(), String(n + 1), "a visit was not counted");
    }
    const [one, two] = servers.map((server) => `http://127.0.0.1:${server.address().port}`);
    assert.strictEqual(await (await fetch(`${one}/leave`, { headers: { cookie } })).text(), "left");
    assert.strictEqual(await (await fetch(two, { headers: { cookie } })).text(), "1", "the session did not end");
}

/// The store's own interface, as express-session calls it.
async function call({ client, store }) {
    const [get, set, touch, destroy, all, ids, length, clear] = ["get", "set", "touch", "destroy", "all", "ids", "length", "clear"].map(
        (name) => promisify(store[name]).bind(store),
    );
    await clear();
    const cookie = { originalMaxAge: null };
    for (let n = 0; n < 150; n++) await set(`s${n}`, { n, cookie });
    assert.strictEqual(await length(), 150);
    assert.strictEqual((await all()).length, 150);
    assert.strictEqual((await ids()).includes("s7"), true);
    assert.deepStrictEqual(await get("s7"), { n: 7, cookie });
    await client.expire("sess:s7", 5);
    await touch("s7", { n: 7, cookie });
    assert((await client.ttl("sess:s7")) > 50, "touch did not prolong the session");
    await destroy("s7");
    assert.ok(!(await get("s7")), "the session is still there");
    await clear();
    assert.strictEqual(await length(), 0);
}

program(async (port) => {
    const sides = [await connect(port), await connect(port)];
    const servers = await Promise.all(sides.map(({ store }) => serve(store)));
    await Promise.all(Array.from({ length: VISITORS }, () => visit(servers)));
    await call(sides[0]);
    for (const server of servers) {
        server.close();
        server.closeAllConnections();
    }
    for (const { client } of sides) client.destroy();
    return `${VISITORS} visitors of two servers; get, set, touch, destroy, all, ids, length, clear`;
});
