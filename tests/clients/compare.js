// What the clients of Node share: the same steps against strata and against a bare redis-server, compared.
"use strict";

const assert = require("node:assert");

/// Runs every group of steps on both sides and compares the values they give. Returns their number.
async function compare(groups, strata, bare) {
    let compared = 0;
    for (const [name, steps] of Object.entries(groups)) {
        const ours = await steps(strata);
        const theirs = await steps(bare);
        assert.deepStrictEqual(ours, theirs, name);
        compared += ours.length;
    }
    return compared;
}

/// The words of the error that a call ends with; a call that succeeds gives its value.
async function outcome(call) {
    try {
        return await call();
    } catch (error) {
        return [error.name, error.message];
    }
}

/// Runs the client's `main(port, socket)` with the arguments of the program; prints what it returns.
function program(main) {
    const [port, socket] = process.argv.slice(2);
    main(Number(port), socket).then(
        (said) => console.log(said),
        (error) => {
            console.error(error);
            process.exit(1);
        },
    );
}

module.exports = { compare, outcome, program };
