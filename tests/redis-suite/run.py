"""Redis' own test suite against strata, compared with how it goes against a bare redis-server.

scripts/redis-suite calls it with everything in place; see there for how it is used.

Every unit runs by itself, against servers of its own, with a bound on each test. What a bare server passes is
kept in bare.tsv beside this file; a test that passes there and fails here is a failure unless exceptions.tsv
names it, with the reason. Over a cluster the suite itself leaves out what needs several slots at once, or databases,
and exceptions-cluster.tsv names what else is different there.
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
EXCEPTIONS_CLUSTER = HERE / "exceptions-cluster.tsv"
# Of a cluster that is home.
MASTERS = 3
SLOTS = 16384

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
    """A redis-server, or several that are a cluster, and strata over it if wanted, in a folder of their own."""

    def __init__(self, strata, cluster=False):
        self.dir = CHILDREN.folder()
        self.processes = []
        try:
            if cluster:
                self.port = self.start_strata(strata, self.start_cluster())
            else:
                port, socket_path = self.start_redis("home")
                home = ["--set", f"l2.url=unix://{socket_path}", "--set", "l2.lease=20s"]
                self.port = port if strata is None else self.start_strata(strata, home)
        except BaseException:
            self.close()
            raise

    def start(self, name, words):
        log = open(self.dir / f"{name}.log", "wb")
        self.processes.append(CHILDREN.start(words, stdout=log, stderr=log, cwd=self.dir))

    def start_redis(self, name, *options):
        port, socket_path = free_port(), self.dir / f"{name}.sock"
        config = self.dir / f"{name}.conf"
        config.write_text(
            f"port {port}\nunixsocket {socket_path}\ndir {self.dir}\nsave ''\nlatency-monitor-threshold 1\n"
            "enable-debug-command yes\nenable-protected-configs yes\nenable-module-command yes\n" + "\n".join(options)
        )
        self.start(name, ["redis-server", config])
        self.wait(name, lambda: self.command(socket_path, "PING") == b"+PONG")
        return port, socket_path

    def start_cluster(self):
        """Masters that share the slots; returns strata's settings for them."""
        nodes = []
        for number in range(MASTERS):
            bus = free_port()
            options = ["cluster-enabled yes", f"cluster-port {bus}", f"cluster-config-file {number}.nodes"]
            nodes.append((*self.start_redis(f"home{number}", *options), bus))
        for number, (_, socket_path, _) in enumerate(nodes):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            self.command(socket_path, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            self.command(socket_path, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            for port, _, bus in nodes[:number]:
                self.command(socket_path, "CLUSTER", "MEET", "127.0.0.1", str(port), str(bus))
        for number, (_, socket_path, _) in enumerate(nodes):
            self.wait(f"home{number}", lambda path=socket_path: self.knows_all(path))
        places = ",".join(f"127.0.0.1:{port}" for port, _, _ in nodes)
        settings = ["l2.enabled=false", "l3.enabled=true", "l3.mode=cluster", f"l3.nodes={places}", "l3.lease=20s"]
        return [word for setting in settings for word in ("--set", setting)]

    def knows_all(self, node):
        """Whether a node of the cluster knows all the others, and takes commands."""
        info = self.command(node, "CLUSTER", "INFO", whole=True)
        return f"cluster_known_nodes:{MASTERS}\r".encode() in info and b"cluster_state:ok" in info

    def start_strata(self, strata, home):
        # A machine so busy that the guard is not heard for a second is no home that hangs: clients that track would
        # be told to drop everything, as no test expects. So leases are long.
        words = [strata, "--set", "server.listen=127.0.0.1:0", "--set", "server.admin_commands=pass", *home]
        self.start("strata", words)
        listens = re.compile(rb" listens on 127\.0\.0\.1:(\d+)")
        log = self.dir / "strata.log"
        self.wait("strata", lambda: listens.search(log.read_bytes()))
        port = int(listens.search(log.read_bytes())[1])
        # Over a cluster: once it knows the nodes.
        self.wait("strata", lambda: self.command(port, "DBSIZE") == b":0")
        return port

    def wait(self, name, ready):
        for _ in range(100):
            try:
                if ready():
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{name} did not start: {(self.dir / (name + '.log')).read_text()}")

    def command(self, place, *words, whole=False):
        """The first line of the answer of who listens on a port, or a socket's path; or a whole text of some lines."""
        on_port = isinstance(place, int)
        with socket.socket(socket.AF_INET if on_port else socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(("127.0.0.1", place) if on_port else str(place))
            client.sendall(" ".join(words).encode() + b"\r\n")
            reader = client.makefile("rb")
            line = reader.readline().strip()
            return reader.read(int(line[1:])) if whole else line

    def cut_clients(self):
        """Ends what waits for an answer that does not come; the test fails and the next one begins."""
        for kind in ["normal", "pubsub"]:
            try:
                self.command(self.port, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            except OSError:
                pass
        # What is left of a pause would hold up the tests that follow.
        try:
            self.command(self.port, "CLIENT", "UNPAUSE")
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

    def __init__(self, suite, strata, cluster, unit, exceptions=()):
        self.suite, self.strata, self.cluster, self.unit = suite, strata, cluster, unit
        self.excepted = {test.name for test in exceptions if test.unit == unit}
        self.results = {}
        self.skipped = []
        self.seconds = 0

    def run(self):
        began = time.monotonic()
        for _ in range(MAX_RESTARTS):
            servers = Servers(self.strata, self.cluster)
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
        mode = "cluster" if self.cluster else "one"
        words = ["tclsh", HERE / "unit.tcl", "127.0.0.1", str(servers.port), self.unit, TAGS, mode, *self.skipped]
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


def run_units(args, units, exceptions=()):
    """Runs units side by side, the slowest first, and yields them as they end."""
    slow = ["unit/hyperloglog", "unit/type/list-3", "unit/type/zset", "unit/dump", "unit/type/list", "unit/geo"]
    order = sorted(units, key=lambda unit: slow.index(unit) if unit in slow else len(slow))
    strata = None if args.bare else args.strata
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(Unit(args.suite, strata, args.cluster, name, exceptions).run) for name in order]
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
    for unit in run_units(args, all_units(args.suite)):
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
        exceptions = read_table(EXCEPTIONS) + (read_table(EXCEPTIONS_CLUSTER) if args.cluster else [])
        self.exceptions = {Test(unit, name): reason for unit, name, reason in exceptions}
        self.statuses, self.beside, self.regressions, self.details = [], [], [], []

    def passes_bare(self, unit):
        return {test for test, status in self.bare[unit].items() if status == "ok"}

    def failed(self, unit):
        """Tests that pass without strata, and not with it."""
        passed = {test for test, result in unit.results.items() if result.status == "ok"}
        return sorted(test for test in self.passes_bare(unit.unit) - passed if not self.left_out(unit, test))

    def left_out(self, unit, test):
        """Whether the suite itself does without a test over a cluster: it says so as `TEST: REASON`."""
        # Of a name that occurs more than once the later ones are numbered here.
        names = tuple(name + ": " for name in (test.name, re.sub(r" #\d+$", "", test.name)))
        ignored = (other for other, result in unit.results.items() if result.status == "ignore")
        return self.args.cluster and any(other.name.startswith(names) for other in ignored)

    def run(self):
        units = self.args.unit or [unit for unit in self.bare if self.passes_bare(unit)]
        print(f"{'':38} {'through strata':21}   {'bare':21}")
        print(f"{'':38} passed failed skipped   passed failed skipped")
        for unit in run_units(self.args, units, self.exceptions):
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
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("unit", nargs="*")
    args = parser.parse_args()
    if args.bare and args.cluster:
        parser.error("--bare is about one server")
    return regenerate(args) if args.bare else Comparison(args).run()


if __name__ == "__main__":
    sys.exit(main())
