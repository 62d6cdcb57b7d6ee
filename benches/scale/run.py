#!/usr/bin/env python3
"""Several gateways on one PostgreSQL and one Redis, with many keys: throughput, Redis calls, CPU, memory.

The record is filled by SQL, each key a copy of one that `tollgate key create` made, with all four quotas; its plan has
a cap per second, per minute and on requests in flight, so that each request is a claim of seven windows. Three loads:
`hot` asks with one key, `cold` with as many keys as time allows, each once and none known to gateways or Redis, `warm`
with those again. Between loads the log is shipped to its end. Load comes from wrk, 64 connections over all gateways, whose core is theirs; all else has the other.
CPU per request is the growth of /proc/PID/task/*/schedstat. Redis calls are those that Redis counts (scripts run, keys set), per request.

The filled record stays in --data and is used again. Rows of the log that a run adds stay in it, too.

Usage: benches/scale/run.py [--keys N] [--organizations N] [--nodes 1,4] [--seconds S] [--data DIR]
                            [--tollgate PATH] [--seed-only]
"""

import argparse, importlib.util, json, os, pwd, re, shutil, signal, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("peers", HERE.parent / "peers/run.py")
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)

PASSWORD = "scale"
SEED = """
INSERT INTO organizations SELECT (jsonb_populate_record(o, jsonb_build_object('id', 'o' || n, 'name', 'o' || n))).*
  FROM organizations o, generate_series(1, {organizations}) n WHERE o.id = 'bench' ON CONFLICT DO NOTHING;
INSERT INTO projects SELECT (jsonb_populate_record(p, jsonb_build_object('id', 'p' || n, 'organization', 'o' || n))).*
  FROM projects p, generate_series(1, {organizations}) n WHERE p.organization = 'bench' ON CONFLICT DO NOTHING;
INSERT INTO keys SELECT (jsonb_populate_record(k, jsonb_build_object('id', md5('k' || n)::uuid, 'name', 'k' || n,
    'organization', 'o' || (n % {organizations} + 1), 'project', 'p' || (n % {organizations} + 1)))).*
  FROM keys k, generate_series(1, {keys}) n WHERE k.organization = 'bench' ON CONFLICT DO NOTHING;
INSERT INTO key_secrets (digest, key, imported)
  SELECT sha256(convert_to('scale-' || lpad(n::text, 8, '0'), 'UTF8')), md5('k' || n)::uuid, true
  FROM generate_series(1, {keys}) n ON CONFLICT DO NOTHING;
ANALYZE;
"""


class Scale(peers.Bench):
    def __init__(self, args):
        super().__init__(str(args.tollgate), str(args.data))
        self.args, self.keys = args, args.keys
        args.data.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()}) if os.getuid() == 0 else None

    def as_user(self, *argv):
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups", *argv] if self.user else list(argv)

    def postgres(self):
        home, self.pg_port = self.args.data / "postgres", peers.free_port()
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        if not (home / "PG_VERSION").exists():
            home.mkdir(mode=0o700)
            if self.user:
                shutil.chown(home, self.user, self.user)
            subprocess.run(self.as_user(str(programs / "initdb"), "--auth=trust", "--username=tollgate", "--locale=C",
                                        "--encoding=UTF8", "-D", str(home)), check=True, capture_output=True, cwd="/")
        # What is measured is not the disk.
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=512MB", "max_wal_size=4GB", "fsync=off"]
        argv = self.as_user(str(programs / "postgres"), "-D", str(home), "-p", str(self.pg_port), *[x for s in settings for x in ("-c", s)])
        self.pg = self.spawn(peers.LOAD_CORE, *argv, stderr=open(f"{self.dir}/postgres.log", "w"), cwd="/")
        peers.wait_port(self.pg_port, "PostgreSQL")
        self.sql("SELECT 1", tries=200)

    def sql(self, text, tries=1):
        argv = ["psql", "-h", "127.0.0.1", "-p", str(self.pg_port), "-U", "tollgate", "-d", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1"]
        for attempt in range(tries):
            ran = subprocess.run(argv, input=text, capture_output=True, text=True)
            if ran.returncode == 0:
                return ran.stdout.strip()
            time.sleep(0.05)
        sys.exit(f"psql: {ran.stderr}")

    def redis(self):
        self.redis_port = peers.free_port()
        self.redis_server = self.spawn(peers.LOAD_CORE, "redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "",
                                       "--appendonly", "no", "--dir", self.dir, stdout=subprocess.DEVNULL)
        peers.wait_port(self.redis_port, "Redis")

    def redis_info(self, part):
        return subprocess.run(["redis-cli", "-p", str(self.redis_port), "info", part], capture_output=True, text=True).stdout

    def redis_calls(self):
        """Scripts run by gateways, and keys set in the index: what a script does inside is no call."""
        calls = re.findall(r"^cmdstat_(eval\w*|fcall\w*|set|setex|get|del): *calls=(\d+)", self.redis_info("commandstats"), re.M)
        return {name: sum(int(n) for c, n in calls if c.startswith(name)) for name in ("eval", "set")}

    def config(self):
        return self.write("gateway.toml", f"""
[data]
listen = "127.0.0.1:0"
threads = 1
[control]
listen = "127.0.0.1:0"
[record]
url = "postgres://tollgate:{PASSWORD}@127.0.0.1:{self.pg_port}/postgres"
[counters]
url = "redis://127.0.0.1:{self.redis_port}"
timeout = "400ms"
[keys]
cache_max = {self.keys + 1000}
[plans.bench]
per_second = 10000000
per_minute = 100000000
concurrency = 100000
[[upstreams]]
name = "scraper"
targets = ["127.0.0.1:{self.upstream_port}"]
[[routes]]
path = "/*"
upstream = "scraper"
""")

    def cli(self, *argv):
        out = subprocess.run([self.tollgate, *argv, "--config", self.config(), "--json"], capture_output=True, text=True)
        if out.returncode:
            sys.exit(f"tollgate {' '.join(argv)}: {out.stderr}")
        return json.loads(out.stdout)

    def seed(self):
        wanted = {"keys": self.keys, "organizations": self.args.organizations}
        marker = self.args.data / "seeded.json"
        seeded = json.loads(marker.read_text()) if marker.exists() else None
        if seeded and {k: seeded[k] for k in wanted} == wanted:
            self.hot = seeded["hot"]
            return
        if seeded:
            sys.exit(f"{self.args.data} is filled otherwise ({seeded}): remove it, or name another --data")
        began = time.monotonic()
        self.cli("org", "create", "bench", "--plan", "bench")
        quotas = [x for q in ("total", "daily", "weekly", "monthly") for x in (f"--{q}", "1000000000")]
        self.hot = self.cli("key", "create", "--org", "bench", "--name", "hot", *quotas)["key"]
        self.sql(SEED.format(**wanted))
        marker.write_text(json.dumps(wanted | {"hot": self.hot}))
        print(f"filled with {self.keys:,} keys of {self.args.organizations:,} organizations in {time.monotonic() - began:.0f} s", flush=True)

    def node(self, number):
        environment = os.environ | {"TOLLGATE__LOGS__DIR": f"{self.dir}/log-{number}-{time.monotonic_ns()}"}
        child = self.spawn(peers.PROXY_CORE, self.tollgate, "serve", "--config", self.config(), "--json", stdout=subprocess.PIPE,
                           text=True, stderr=open(f"{self.dir}/gateway-{number}.err", "w"), env=environment)
        ready = child.stdout.readline()
        if not ready:
            sys.exit(open(f"{self.dir}/gateway-{number}.err").read())
        ready = json.loads(ready)
        port = lambda name: int(ready[name].rsplit(":", 1)[1])
        return child, port("data_addr"), port("control_addr")

    def metrics(self, control, name):
        return sum(float(v) for v in re.findall(rf"^{name}[^\n]* (\S+)$", peers.get(control, "/metrics")[1], re.M))

    def load(self, nodes, kind, seconds, keys):
        """Requests answered, and how many otherwise than by 2xx."""
        script = lambda n: self.write(f"{kind}-{n}.lua", f"""
local hot, keys, step, n = "{kind}" == "hot", {keys}, {len(nodes)}, {n}
request = function()
  n = n + step
  return wrk.format("GET", "/1024", {{ ["X-API-Key"] = hot and "{self.hot}" or string.format("scale-%08d", n % keys + 1) }})
end
local threads = {{}}
setup = function(thread) threads[#threads + 1] = thread end
refused = {{}}
response = function(status, _, body)
  if status < 300 then return end
  local why = status .. " " .. (body:match('"code":"([^"]*)"') or "")
  refused[why] = (refused[why] or 0) + 1
end
done = function()
  for _, thread in ipairs(threads) do
    for why, times in pairs(thread:get("refused")) do print("Refused: " .. why .. ": " .. times) end
  end
end
""")
        each = max(1, 64 // len(nodes))
        running = [subprocess.Popen(["taskset", "-c", peers.LOAD_CORE, "wrk", "-t1", f"-c{each}", f"-d{seconds}s", "--timeout", "10s", "-s",
                                     script(n), f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True)
                   for n, (_, port, _) in enumerate(nodes)]
        said = "".join(child.communicate()[0] for child in running)
        total = lambda pattern: sum(int(n) for n in re.findall(pattern, said))
        if "Socket errors" in said:
            print(f"the load met {re.findall('Socket errors: .*', said)}", file=sys.stderr)
        if "Refused" in said:
            print(f"the load met {re.findall('Refused: (.*)', said)}", file=sys.stderr)
        return total(r"(\d+) requests in"), total(r"Non-2xx or 3xx responses: (\d+)")

    def measure(self, nodes, kind, keys):
        """One line of the table; how many requests were answered."""
        pids = [child.pid for child, _, _ in nodes]
        cpu = lambda: [sum(map(peers.cpu_ns, pids)), peers.cpu_ns(self.redis_server.pid), peers.cpu_ns(self.pg.pid)]
        told = lambda: sum(self.metrics(control, "tollgate_ledger_round_trips_total") for _, _, control in nodes)
        before, calls, cpus, trips = self.mib(nodes), self.redis_calls(), cpu(), told()
        requests, bad = self.load(nodes, kind, self.args.seconds, keys)
        cpus = [(after - before) / requests / 1000 for before, after in zip(cpus, cpu())]
        calls = {name: (n - calls[name]) / requests for name, n in self.redis_calls().items()}
        memory = int(re.search(r"^used_memory:(\d+)", self.redis_info("memory"), re.M)[1])
        met = 1 if kind == "hot" else min(requests, keys)
        print(f"| {len(nodes)} | {kind} | {met:,} | {requests / self.args.seconds:,.0f} | {bad} | {cpus[0]:.1f} | {cpus[1]:.1f} | {cpus[2]:.1f} | "
              f"{calls['eval']:.4f} | {(told() - trips) / requests:.4f} | {calls['set']:.3f} | {before:.0f} | {self.mib(nodes):.0f} | {memory / 2**20:.0f} |", flush=True)
        return requests

    def mib(self, nodes):
        """Memory of a gateway, the mean of all."""
        return sum(peers.rss_kib(child.pid) for child, _, _ in nodes) / len(nodes) / 1024

    def shipped(self, nodes):
        """Waits until the record has the log of what went before, whose shipping is no part of what comes."""
        rows = lambda control, state: self.metrics(control, f'tollgate_log_rows_total{{state="{state}"}}')
        deadline = time.monotonic() + 120
        while any(rows(control, "shipped") < rows(control, "written") for _, _, control in nodes):
            if time.monotonic() > deadline:
                sys.exit("the log is not shipped after 120 s")
            time.sleep(0.1)

    def measure_all(self, count):
        subprocess.run(["redis-cli", "-p", str(self.redis_port), "flushall"], stdout=subprocess.DEVNULL, check=True)
        nodes = [self.node(n) for n in range(count)]
        time.sleep(1.5)  # each has heard of the others
        self.load(nodes, "hot", 1, 1)
        self.measure(nodes, "hot", 1)
        self.shipped(nodes)
        met = min(self.measure(nodes, "cold", self.keys), self.keys)
        self.shipped(nodes)
        # The order is the same: what was met is met again, as often as time allows.
        self.measure(nodes, "warm", met // count * count)
        for child, _, _ in nodes:
            child.send_signal(signal.SIGTERM)
        for child, _, _ in nodes:
            child.wait(40)
            self.children.remove(child)

    def stop(self):
        for child in self.children:
            # The fast shutdown of PostgreSQL, which does not wait for clients.
            child.send_signal(signal.SIGINT)
        super().stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--organizations", type=int, default=10_000)
    parser.add_argument("--nodes", default="1,4")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path("/var/tmp/tollgate-scale"))
    parser.add_argument("--tollgate", type=Path, default=HERE.parent.parent / "target/release/tollgate")
    parser.add_argument("--seed-only", action="store_true")
    args = parser.parse_args()
    peers.need("nginx", "wrk", "taskset", "psql", "redis-server", "redis-cli", "setpriv")
    if not args.tollgate.exists():
        sys.exit(f"{args.tollgate} is not there: build it with cargo build --release")
    scale = Scale(args)
    try:
        scale.postgres()
        scale.redis()
        scale.upstream_port = scale.upstream([1024])
        scale.seed()
        if args.seed_only:
            return
        print("| nodes | load | keys | requests/s | not 2xx | CPU µs: gateways | Redis | PostgreSQL | Redis scripts per request | as gateways count | "
              "keys set in the index | MiB per gateway, before | after | Redis MiB |\n" + "|---" * 14 + "|")
        for nodes in map(int, args.nodes.split(",")):
            scale.measure_all(nodes)
    finally:
        scale.stop()
        for log in args.data.glob("log-*"):
            shutil.rmtree(log)


if __name__ == "__main__":
    main()
