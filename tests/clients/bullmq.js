// BullMQ over strata: a queue and its worker, events, retries, priorities, delayed and repeated jobs: bullmq.js PORT
"use strict";

const assert = require("node:assert");
const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");
const { program } = require("./compare.js");

const JOBS = 50;

/// What the worker does, by a job's name.
const work = {
    add: ({ data }) => data.a + data.b,
    refuse() {
        throw new Error("no");
    },
    succeedAtLast({ attemptsMade }) {
        if (attemptsMade < 2) throw new Error("not yet");
        return attemptsMade;
    },
    async total(job) {
        return Object.values(await job.getChildrenValues()).reduce((sum, value) => sum + value, 0);
    },
    tick: () => Date.now(),
};

async function jobs(queue, events) {
    const added = await queue.addBulk(
        Array.from({ length: JOBS }, (_, n) => ({ name: "add", data: { a: n, b: 1 }, opts: { priority: 1 + (n % 3) } })),
    );
    const results = await Promise.all(added.map((job) => job.waitUntilFinished(events, 10_000)));
    assert.deepStrictEqual(results, Array.from({ length: JOBS }, (_, n) => n + 1));

    const refused = await queue.add("refuse", {});
    await assert.rejects(refused.waitUntilFinished(events, 10_000), /no/);
    const retried = await queue.add("succeedAtLast", {}, { attempts: 3, backoff: { type: "fixed", delay: 50 } });
    assert.strictEqual(await retried.waitUntilFinished(events, 10_000), 2);

    const began = Date.now();
    const delayed = await queue.add("tick", {}, { delay: 400 });
    assert.strictEqual(await delayed.getState(), "delayed");
    const waited = (await delayed.waitUntilFinished(events, 10_000)) - began;
    assert(waited >= 390 && waited < 5000, `delayed by ${waited} ms instead of 400`);

    const counts = await queue.getJobCounts("completed", "failed", "waiting", "active", "delayed");
    assert.deepStrictEqual(counts, { completed: JOBS + 2, failed: 1, waiting: 0, active: 0, delayed: 0 });
}

/// A job that is repeated, as often as it was to be.
async function repeat(queue, worker) {
    const times = [];
    const done = new Promise((resolve) => {
        worker.on("completed", (job) => {
            if (job.name === "tick" && times.push(job.returnvalue) === 4) resolve();
        });
    });
    await queue.upsertJobScheduler("ticks", { every: 200, limit: 4 }, { name: "tick" });
    await done;
    const took = times[3] - times[0];
    assert(took >= 400 && took < 5000, `three intervals of 200 ms took ${took} ms`);
    await queue.removeJobScheduler("ticks");
}

/// A job that waits for its children's results.
async function flow(connection, events) {
    const producer = new FlowProducer({ connection });
    const children = [1, 2, 3].map((n) => ({ name: "add", queueName: "work", data: { a: n, b: 0 } }));
    const { job } = await producer.add({ name: "total", queueName: "work", data: {}, children });
    assert.strictEqual(await job.waitUntilFinished(events, 10_000), 6);
    await producer.close();
}

program(async (port) => {
    const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
    const queue = new Queue("work", { connection });
    const events = new QueueEvents("work", { connection });
    const worker = new Worker("work", async (job) => work[job.name](job), { connection, concurrency: 4 });
    worker.on("error", (error) => console.error(error));
    await Promise.all([events.waitUntilReady(), worker.waitUntilReady()]);
    await jobs(queue, events);
    await repeat(queue, worker);
    await flow(connection, events);
    await queue.pause();
    assert.strictEqual(await queue.isPaused(), true);
    await queue.obliterate({ force: true });
    await Promise.all([worker.close(), events.close(), queue.close()]);
    const { version } = require("bullmq/package.json");
    return `bullmq ${version}: ${JOBS + 11} jobs, one failed, one retried, one delayed, one repeated, one with children`;
});
