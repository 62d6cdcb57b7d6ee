#!/usr/bin/env python3
"""What the request log costs: CPU per request of the gateway with its log, less that of the same gateway without.

Both are one program (benches/log.rs), pinned and loaded as in run.py. They take turns within a round, the order is
reversed every other round, and every few rounds both are started anew, each with an empty record, as one process differs
from the next in where its memory lies. CPU is that of the whole process, threads that ended too (its CPU-time clock). It is
read when the log has drained: the gateway is left alone after its load, with or without a log, and whatever it admitted is
in the record. The figure is the median over rounds of with minus without.

Usage: cargo bench --bench log -- [--rounds N] [--seconds S] [--size BYTES] [--anew N] [--json]
"""

import argparse, glob, json, os, re, shutil, statistics, sys, tempfile, time
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


def measure(bench, gateway, size, seconds):
    """CPU per request, that of it which served nobody, requests per second, and rows."""
    pid, port, keys = gateway
    before, serving, control = cpu_us(pid), serving_us(pid), bench.control[pid]
    requests, bad, errors = bench.wrk(port, f"/{size}", seconds, keys)
    for _ in range(20):
        time.sleep(DRAINED_AFTER)
        written, shipped = rows(control)
        if written == shipped:
            break
    else:
        sys.exit(f"the log does not drain: {written} rows written, {shipped} shipped")
    spent = cpu_us(pid) - before
    behind = spent - (serving_us(pid) - serving)
    if bad or errors:
        sys.exit(f"{bad} non-2xx answers {errors}")
    return spent / requests, behind / requests, requests / seconds, written


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--anew", type=int, default=3, help="rounds after which both are started anew")
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
                for gateway in gateways.values():
                    measure(bench, gateway, args.size, 2 * args.seconds)
                for _ in range(min(args.anew, args.rounds - len(rounds))):
                    order = list(gateways) if len(rounds) % 2 == 0 else list(gateways)[::-1]
                    rounds.append({name: measure(bench, gateways[name], args.size, args.seconds) for name in order})
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
        "requests_per_second": round(statistics.median(r["with"][2] for r in rounds)),
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
