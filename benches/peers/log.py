#!/usr/bin/env python3
"""What the request log costs: CPU per request of the gateway with its log, less that of the same gateway without.

Both are one program (benches/log.rs), pinned and loaded as in run.py, and both at the same time, on one core: the
machine's other guests make it slower and faster by a fifth from one second to the next, which costs both the same then. In
every round both are started anew, with an empty record, as one process differs from the next in where its memory lies. CPU is
that of the whole process, threads that ended too (its CPU-time clock), from the first request until the log has drained and
whatever was admitted is in the record. The figure is the median over rounds of with minus without.

Usage: cargo bench --bench log -- [--rounds N] [--seconds S] [--size BYTES] [--json]
"""

import argparse, concurrent.futures, glob, json, os, re, shutil, statistics, sys, tempfile, time
import run

# The shipper lets five beats pass at most, and the write-ahead log moves to the file behind it.
DRAINED_AFTER = 1.5


def cpu_us(pid):
    """The CPU-time clock of another process: linux/include/linux/posix-timers_types.h, CPUCLOCK_SCHED."""
    return time.clock_gettime(~pid << 3 | 2) * 1e6


def serving_us(pid):
    """CPU of the threads that serve clients."""
    spent = 0
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{task}/comm") as comm, open(f"{task}/schedstat") as stat:
            if comm.read().startswith("tollgate-io"):
                spent += int(stat.read().split()[0]) / 1e3
    return spent


def rows(port):
    """Rows written, and rows in the record."""
    text = run.get(port, "/metrics")[1]
    return [int(re.search(rf'^tollgate_log_rows_total{{state="{state}"}} (\d+)', text, re.M)[1])
            for state in ("written", "shipped")]


def drained(control):
    """Rows, once all of them are in the record."""
    for _ in range(20):
        time.sleep(DRAINED_AFTER)
        written, shipped = rows(control)
        if written == shipped:
            return written
    sys.exit(f"the log does not drain: {written} rows written, {shipped} shipped")


def measure(bench, gateways, size, seconds):
    """Of each gateway under load: CPU per request, that of it which served nobody, requests per second, and rows."""
    before = {name: (cpu_us(pid), serving_us(pid)) for name, (pid, _, _) in gateways.items()}
    load = lambda gateway: bench.wrk(gateway[1], f"/{size}", seconds, gateway[2])
    with concurrent.futures.ThreadPoolExecutor() as loads:
        answers = dict(zip(gateways, loads.map(load, gateways.values())))
    # All of them before any is read: what a gateway does when nobody asks it counts for each as long.
    written = {name: drained(bench.control[pid]) for name, (pid, _, _) in gateways.items()}
    found = {}
    for name, (pid, _, _) in gateways.items():
        requests, bad, errors = answers[name]
        if bad or errors:
            sys.exit(f"{bad} non-2xx answers {errors}")
        spent, serving = cpu_us(pid) - before[name][0], serving_us(pid) - before[name][1]
        found[name] = (spent / requests, (spent - serving) / requests, requests / seconds, written[name])
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--json", action="store_true")
    # `make bench` gives every bench the options of one of its kinds.
    args, _ = parser.parse_known_args()
    run.need("nginx", "wrk", "taskset")
    dir = tempfile.mkdtemp(prefix="tollgate-bench-")
    os.chmod(dir, 0o755)
    servers, rounds = run.Bench(None, dir), []
    try:
        upstream = servers.upstream([args.size])
        while len(rounds) < args.rounds:
            home = os.path.join(dir, str(len(rounds)))
            os.makedirs(home)
            bench = run.Bench(os.path.abspath(args.gateway), home)
            try:
                gateways = {"with": bench.gateway(upstream, "with"),
                            "without": bench.gateway(upstream, "without", serve="serve-without-log")}
                measure(bench, gateways, args.size, 3)
                rounds.append(measure(bench, gateways, args.size, args.seconds))
                assert rounds[-1]["with"][3] > 0 and rounds[-1]["without"][3] == 0, "a log where there should be none"
            finally:
                bench.stop()
                shutil.rmtree(home, ignore_errors=True)
    finally:
        servers.stop()
        shutil.rmtree(dir, ignore_errors=True)
    cost = sorted(r["with"][0] - r["without"][0] for r in rounds)
    quarter = len(cost) // 4
    report = {
        "with_us": round(statistics.median(r["with"][0] for r in rounds), 2),
        "without_us": round(statistics.median(r["without"][0] for r in rounds), 2),
        "log_us": round(statistics.median(cost), 2),
        "log_us_middle_half": [round(cost[quarter], 2), round(cost[-1 - quarter], 2)],
        "behind_us": round(statistics.median(r["with"][1] - r["without"][1] for r in rounds), 2),
        "requests_per_second": round(statistics.median(r["with"][2] + r["without"][2] for r in rounds)),
        "rounds": len(rounds),
    }
    if args.json:
        print(json.dumps(report))
        return
    low, high = report["log_us_middle_half"]
    print(f"The request log costs {report['log_us']} µs of CPU per request (half of {len(rounds)} rounds between {low} and "
          f"{high}): {report['with_us']} µs with it, {report['without_us']} µs without, {report['requests_per_second']} requests/s. "
          f"Of it, {report['behind_us']} µs are in threads that serve nobody.")


if __name__ == "__main__":
    main()
