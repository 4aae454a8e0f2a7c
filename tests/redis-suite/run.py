"""Redis' own test suite against strata, compared with how it goes against a bare redis-server.

scripts/redis-suite calls it with everything in place; see there for how it is used.

Every unit runs by itself, against servers of its own, with a bound on each test. What a bare server passes is
kept in bare.tsv beside this file; a test that passes there and fails here is a failure unless exceptions.tsv
names it, with the reason.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BARE = HERE / "bare.tsv"
EXCEPTIONS = HERE / "exceptions.tsv"

# Not for a server that somebody else started, or with other people's data: what needs replicas, saving, the
# debugging of a special build, and statistics that only one client may have moved.
TAGS = "-needs:repl -needs:save -needs:debug -needs:pfdebug -needs:latency -needs:config-maxmemory -needs:config-resetstat"
# Seconds a test may take until its connections are cut (less, if it is known to fail), and further ones until its
# unit is ended and begun anew without it.
TEST_LIMIT = 120
EXCEPTED_LIMIT = 5
CUT_LIMIT = 10
# Times a unit is begun anew.
MAX_RESTARTS = 5
MAX_EXCEPTIONS = 0.02

Test = collections.namedtuple("Test", "unit name")
Result = collections.namedtuple("Result", "status details")


class Children:
    """Processes and folders that must not outlive this one, however it ends."""

    def __init__(self):
        self.lock, self.processes, self.folders = threading.Lock(), set(), set()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.end)

    def start(self, words, **more):
        with self.lock:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, **more)
            self.processes.add(process)
        return process

    def stop(self, process):
        """Ends a process and what it started: load generators and the like."""
        # By its number, which stays its own until it is reaped: Popen.terminate would reap one that has ended.
        os.kill(process.pid, signal.SIGTERM)
        for _ in range(200):
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                break
            time.sleep(0.05)
        self.kill_group(process)
        process.wait()
        with self.lock:
            self.processes.discard(process)

    def kill_group(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def folder(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="redis-suite."))
        self.folders.add(folder)
        return folder

    def end(self, number, _frame):
        for process in list(self.processes):
            self.kill_group(process)
        for folder in list(self.folders):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)


CHILDREN = Children()


class Servers:
    """A redis-server, and strata over it if wanted, in a folder of their own."""

    def __init__(self, strata):
        self.dir = CHILDREN.folder()
        self.processes = []
        self.socket = self.dir / "home.sock"
        port = free_port()
        config = self.dir / "redis.conf"
        config.write_text(
            f"port {port}\nunixsocket {self.socket}\ndir {self.dir}\nsave ''\nlatency-monitor-threshold 1\n"
            "enable-debug-command yes\nenable-protected-configs yes\nenable-module-command yes\n"
        )
        try:
            self.start("redis", ["redis-server", config])
            self.wait("redis", lambda: self.command("PING") == b"+PONG")
            self.port = port if strata is None else self.start_strata(strata)
        except BaseException:
            self.close()
            raise

    def start(self, name, words):
        log = open(self.dir / f"{name}.log", "wb")
        self.processes.append(CHILDREN.start(words, stdout=log, stderr=log, cwd=self.dir))

    def start_strata(self, strata):
        words = [strata, "--set", "server.listen=127.0.0.1:0", "--set", f"l2.url=unix://{self.socket}"]
        # A machine so busy that the guard is not heard for a second is no home that hangs: clients that track would
        # be told to drop everything, as no test expects.
        words += ["--set", "server.admin_commands=pass", "--set", "l2.lease=20s"]
        self.start("strata", words)
        listens = re.compile(rb" listens on 127\.0\.0\.1:(\d+)")
        log = self.dir / "strata.log"
        self.wait("strata", lambda: listens.search(log.read_bytes()))
        return int(listens.search(log.read_bytes())[1])

    def wait(self, name, ready):
        for _ in range(100):
            try:
                if ready():
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{name} did not start: {(self.dir / (name + '.log')).read_text()}")

    def command(self, *words, port=None):
        """The first line of home's answer, or of the one who listens on `port`."""
        with socket.socket(socket.AF_UNIX if port is None else socket.AF_INET) as client:
            client.settimeout(5)
            client.connect(str(self.socket) if port is None else ("127.0.0.1", port))
            client.sendall(" ".join(words).encode() + b"\r\n")
            return client.makefile("rb").readline().strip()

    def cut_clients(self):
        """Ends what waits for an answer that does not come; the test fails and the next one begins."""
        for kind in ["normal", "pubsub"]:
            try:
                self.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes", port=self.port)
            except OSError:
                pass
        # What is left of a pause would hold up the tests that follow.
        try:
            self.command("CLIENT", "UNPAUSE", port=self.port)
        except OSError:
            pass

    def close(self):
        for process in reversed(self.processes):
            CHILDREN.stop(process)
        shutil.rmtree(self.dir, ignore_errors=True)
        CHILDREN.folders.discard(self.dir)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Unit:
    """One unit of the suite against servers of its own."""

    def __init__(self, suite, strata, unit, exceptions=()):
        self.suite, self.strata, self.unit = suite, strata, unit
        self.excepted = {test.name for test in exceptions if test.unit == unit}
        self.results = {}
        self.skipped = []
        self.seconds = 0

    def run(self):
        began = time.monotonic()
        for _ in range(MAX_RESTARTS):
            servers = Servers(self.strata)
            try:
                hung = self.attempt(servers)
            finally:
                servers.close()
            if hung is None:
                break
            self.skipped.append(hung)
        self.seconds = time.monotonic() - began
        return self

    def attempt(self, servers):
        """Runs the unit once; returns the name of a test that no way leads past."""
        words = ["tclsh", HERE / "unit.tcl", "127.0.0.1", str(servers.port), self.unit, TAGS, *self.skipped]
        process = CHILDREN.start(words, cwd=self.suite, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        events = queue.Queue()
        threading.Thread(target=read_events, args=(process.stdout, events), daemon=True).start()
        try:
            return self.follow(servers, events)
        finally:
            CHILDREN.stop(process)

    def follow(self, servers, events):
        testing, seen, cut = None, collections.Counter(), False
        while True:
            limit = EXCEPTED_LIMIT if testing in self.excepted else TEST_LIMIT
            try:
                event = events.get(timeout=CUT_LIMIT if cut else limit)
            except queue.Empty:
                if not cut:
                    cut = True
                    servers.cut_clients()
                    continue
                self.note(seen, testing or "(outside of tests)", "err", "hung")
                return testing
            if event is None:
                return None
            cut = False
            status, name, details = event
            if status == "testing":
                testing = name
            elif status in ("ok", "err", "ignore", "exception"):
                self.note(seen, name if status == "ok" else name or "(outside of tests)", status, details)
                testing = None
            elif status == "done":
                return None

    def note(self, seen, name, status, details):
        if status == "exception":
            name, details = "(outside of tests)", name + "\n" + details
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} #{seen[name]}"
        self.results[Test(self.unit, name)] = Result(status, details)


def read_events(stream, events):
    for line in stream:
        fields = line.decode("utf-8", "backslashreplace").rstrip("\n").split("\t")
        if fields[0] == "@" and len(fields) == 4:
            events.put((fields[1], printable(fields[2]), fields[3].replace("\\n", "\n")))
    events.put(None)


def printable(name):
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


def run_units(suite, strata, units, jobs, exceptions=()):
    """Runs units side by side, the slowest first, and yields them as they end."""
    slow = ["unit/hyperloglog", "unit/type/list-3", "unit/type/zset", "unit/dump", "unit/type/list", "unit/geo"]
    order = sorted(units, key=lambda unit: slow.index(unit) if unit in slow else len(slow))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(Unit(suite, strata, name, exceptions).run) for name in order]
        for run in concurrent.futures.as_completed(runs):
            yield run.result()


def all_units(suite):
    helper = (suite / "tests/test_helper.tcl").read_text()
    return re.search(r"set ::all_tests \{(.*?)\}", helper, re.S)[1].split()


def read_table(path):
    """Rows of tab-separated fields; lines that begin with # are for people."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def figures(statuses):
    counts = collections.Counter(statuses)
    failed = counts["err"] + counts["exception"] + counts["missing"]
    return f"{counts['ok']:6} {failed:6} {counts['ignore']:7}"


def regenerate(args):
    """Writes down what passes, fails and is skipped without strata."""
    results = {}
    for unit in run_units(args.suite, None, all_units(args.suite), args.jobs):
        print(f"{unit.unit:38} {figures(r.status for r in unit.results.values())} {unit.seconds:6.0f} s", flush=True)
        results |= unit.results
    with open(BARE, "w") as out:
        out.write("# What Redis 7.0.15's own tests say of a bare redis-server: written by scripts/redis-suite --bare.\n")
        for test, result in sorted(results.items()):
            out.write(f"{test.unit}\t{result.status}\t{test.name}\n")
    print(f"{'all':38} {figures(r.status for r in results.values())}")
    return 0


class Comparison:
    """How the suite went through strata, beside what is known of a bare server."""

    def __init__(self, args):
        self.args = args
        self.bare = collections.defaultdict(dict)
        for unit, status, name in read_table(BARE):
            self.bare[unit][Test(unit, name)] = status
        self.exceptions = {Test(unit, name): reason for unit, name, reason in read_table(EXCEPTIONS)}
        self.statuses, self.beside, self.regressions, self.details = [], [], [], []

    def passes_bare(self, unit):
        return {test for test, status in self.bare[unit].items() if status == "ok"}

    def failed(self, unit):
        """Tests that pass without strata, and not with it."""
        passed = {test for test, result in unit.results.items() if result.status == "ok"}
        return sorted(self.passes_bare(unit.unit) - passed)

    def run(self):
        units = self.args.unit or [unit for unit in self.bare if self.passes_bare(unit)]
        print(f"{'':38} {'through strata':21}   {'bare':21}")
        print(f"{'':38} passed failed skipped   passed failed skipped")
        for unit in run_units(self.args.suite, self.args.strata, units, self.args.jobs, self.exceptions):
            self.take(unit)
        return self.report()

    def take(self, unit):
        failed = self.failed(unit)
        missing = {test: Result("missing", "not run") for test in failed if test not in unit.results}
        statuses = [result.status for result in (unit.results | missing).values()]
        self.statuses += statuses
        bare = list(self.bare[unit.unit].values())
        self.beside += bare
        print(f"{unit.unit:38} {figures(statuses)}   {figures(bare)}  {unit.seconds:4.0f} s", flush=True)
        for test in failed:
            excepted = self.exceptions.get(test)
            result = unit.results.get(test, missing.get(test))
            print(f"  {'excepted' if excepted else 'FAILED'}: {test.name}{': ' + excepted if excepted else ''}")
            self.regressions += [] if excepted else [test]
            self.details.append((test, result))
        for test, result in unit.results.items():
            if result.status in ("err", "exception") and test not in failed:
                self.details.append((test, result))

    def report(self):
        print(f"{'all':38} {figures(self.statuses)}   {figures(self.beside)}")
        with open(self.args.failures, "w") as out:
            for test, result in self.details:
                out.write(f"[{result.status}] {test.unit}: {test.name}\n{result.details}\n\n")
        if self.details:
            print(f"what failed, in its own words: {self.args.failures}")
        passing = sum(len(self.passes_bare(unit)) for unit in self.bare)
        allowed = int(passing * MAX_EXCEPTIONS)
        if len(self.exceptions) > allowed:
            print(f"error: {len(self.exceptions)} exceptions are more than {allowed}, which are 2 % of the tests")
            return 1
        if self.regressions:
            print(f"error: {len(self.regressions)} tests pass without strata and fail through it")
        return 1 if self.regressions else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suite", type=pathlib.Path, required=True)
    parser.add_argument("--strata", type=pathlib.Path)
    parser.add_argument("--failures", type=pathlib.Path)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("unit", nargs="*")
    args = parser.parse_args()
    return regenerate(args) if args.bare else Comparison(args).run()


if __name__ == "__main__":
    sys.exit(main())
