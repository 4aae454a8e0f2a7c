"""redis-py's own tests, of one server, through strata beside a bare server: what passes there has to pass here.

usage: redis_py_suite.py SUITE PORT_OF_STRATA PORT_OF_REDIS

SUITE is the unpacked source of redis-py; strata runs with server.admin_commands = "pass".
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

FILES = "commands pipeline scripting lock cache function monitor pubsub encoding".split()
KINDS = "onlycluster redismod ssl replica cp_integration multidb_integration".split()
# These set home's password, which strata is not told.
LEFT_OUT = "not test_auth"
EXCEPTIONS = {
    "tests.test_monitor.TestMonitor::test_lua_script": "MONITOR tells what strata is asked; a script runs at home",
}


def start(suite, port, report):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "20", "--tb", "no"]
    command += ["--redis-url", f"redis://127.0.0.1:{port}/9", f"--junitxml={report}", "-k", LEFT_OUT]
    command += ["-m", " and ".join(f"not {kind}" for kind in KINDS), *(f"tests/test_{name}.py" for name in FILES)]
    return subprocess.Popen(command, cwd=suite, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def outcomes(report):
    """By a test's name, what became of it."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        tags = [child for child in case if child.tag in ("failure", "error", "skipped")]
        found[name] = (tags[0].tag, tags[0].get("message", "")[:200]) if tags else ("passed", "")
    return found


def main():
    suite, ports = sys.argv[1], sys.argv[2:4]
    with tempfile.TemporaryDirectory() as directory:
        reports = [Path(directory) / f"{port}.xml" for port in ports]
        runs = [start(suite, port, report) for port, report in zip(ports, reports, strict=True)]
        try:
            for run in runs:
                run.wait(timeout=400)
        finally:
            for run in runs:
                run.kill()
        strata, bare = (outcomes(report) for report in reports)
    worse = 0
    for name, (outcome, _) in sorted(bare.items()):
        here, why = strata.get(name, ("absent", ""))
        if outcome == "passed" and here != "passed":
            worse += name not in EXCEPTIONS
            print(f"{here}: {name}: {EXCEPTIONS.get(name, why)}")
    counts = [dict(Counter(outcome for outcome, _ in side.values())) for side in (strata, bare)]
    print(f"through strata {counts[0]}, without {counts[1]}; worse than there and no exception: {worse}")
    sys.exit(worse != 0 or not bare)


main()
