#!/usr/bin/env python3
"""CPU per request of Tollgate (whole job on) beside HAProxy and nginx plainly forwarding.

Every contestant is pinned to one core; the load generator (wrk, 64 kept-alive connections, many keys) and the
upstream (nginx with a static file) have the other. CPU per request is the growth of
/proc/PID/task/*/schedstat over the contestant's process tree, divided by completed requests. Contestants take
turns within a round and the order is reversed every other round; what is reported are medians over rounds and
ratios pair by pair. A round with a non-2xx answer does not count. Before any timing, each contestant is shown to
do its job: Tollgate refuses a bad key, strips the good one, and the upstream sees the identity headers.

With --redis a second gateway takes part whose counters are in a Redis of its own, which runs on the load's core and is
not counted.

Usage: benches/peers/run.py [--rounds N] [--seconds S] [--sizes 1024,32768] [--tollgate PATH] [--redis] [--json]
"""

import argparse, glob, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request, urllib.error

PROXY_CORE, LOAD_CORE = "0", "1"
KEYS = 64


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install them with: apt-get install {' '.join(missing)}")


def wait_port(port, what):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{what} did not open port {port}")


def tree(pid):
    pids = [pid]
    for p in pids:
        for children in glob.glob(f"/proc/{p}/task/*/children"):
            try:
                pids += [int(c) for c in open(children).read().split() if int(c) not in pids]
            except OSError:
                pass
    return pids


def cpu_ns(pid):
    """Nanoseconds on a CPU, over every live thread of the process tree."""
    total = 0
    for p in tree(pid):
        for stat in glob.glob(f"/proc/{p}/task/*/schedstat"):
            try:
                total += int(open(stat).read().split()[0])
            except (OSError, IndexError):
                pass
    return total


def rss_kib(pid):
    total = 0
    for p in tree(pid):
        try:
            total += int(re.search(r"^VmRSS:\s+(\d+)", open(f"/proc/{p}/status").read(), re.M)[1])
        except (OSError, TypeError):
            pass
    return total


class Bench:
    def __init__(self, tollgate, dir):
        self.tollgate, self.dir, self.children, self.control = tollgate, dir, [], {}

    def spawn(self, core, *argv, **kw):
        child = subprocess.Popen(["taskset", "-c", core, *argv], stdin=subprocess.DEVNULL, **kw)
        self.children.append(child)
        return child

    def stop(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def nginx(self, name, core, body):
        conf = self.write(f"{name}.conf", f"""
daemon off; worker_processes 1; pid {self.dir}/{name}.pid; error_log {self.dir}/{name}.err;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {self.dir}/{name}-b; proxy_temp_path {self.dir}/{name}-p;
  fastcgi_temp_path {self.dir}/{name}-f; uwsgi_temp_path {self.dir}/{name}-u; scgi_temp_path {self.dir}/{name}-s;
  keepalive_requests 100000000; keepalive_timeout 600;
  {body}
}}""")
        return self.spawn(core, "nginx", "-c", conf, "-p", self.dir)

    def upstream(self, sizes):
        """A static file per size, and /echo that answers the request's headers."""
        os.makedirs(f"{self.dir}/www", exist_ok=True)
        for size in sizes:
            with open(f"{self.dir}/www/{size}", "wb") as f:
                f.write(b"x" * size)
        os.chmod(self.dir, 0o755)
        port = free_port()
        self.nginx("upstream", LOAD_CORE, f"""server {{ listen 127.0.0.1:{port} backlog=4096; root {self.dir}/www; open_file_cache max=100;
          location /echo {{ default_type text/plain; return 200 "key=$http_x_api_key;auth=$http_authorization;org=$http_x_tollgate_organization;id=$http_x_tollgate_key_id;rid=$http_x_request_id"; }} }}""")
        wait_port(port, "the upstream")
        return port

    def haproxy(self, upstream):
        port = free_port()
        conf = self.write("haproxy.cfg", f"""
global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  timeout http-keep-alive 600s
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  server s 127.0.0.1:{upstream}
""")
        child = self.spawn(PROXY_CORE, "haproxy", "-db", "-f", conf)
        wait_port(port, "haproxy")
        return child.pid, port

    def plain_nginx(self, upstream):
        port = free_port()
        child = self.nginx("plain", PROXY_CORE, f"""upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
          server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}""")
        wait_port(port, "nginx")
        return child.pid, port

    def redis(self):
        port = free_port()
        self.spawn(LOAD_CORE, "redis-server", "--port", str(port), "--save", "", "--dir", self.dir,
                   stdout=subprocess.DEVNULL)
        wait_port(port, "Redis")
        return f"redis://127.0.0.1:{port}"

    def gateway(self, upstream, name="memory", counters="memory", serve="serve"):
        config = self.write(f"{name}.toml", f"""
[counters]
url = "{counters}"
[data]
listen = "127.0.0.1:0"
threads = 1
[control]
listen = "127.0.0.1:0"
[record]
url = "sqlite://{self.dir}/{name}.db"
[logs]
dir = "{self.dir}/{name}-log"
[plans.bench]
per_second = 10000000
per_minute = 100000000
concurrency = 100000
[[upstreams]]
name = "scraper"
targets = ["127.0.0.1:{upstream}"]
[[routes]]
path = "/*"
upstream = "scraper"
""")
        def cli(*argv):
            out = subprocess.run([self.tollgate, *argv, "--config", config, "--json"], capture_output=True, text=True)
            if out.returncode:
                sys.exit(f"tollgate {' '.join(argv)}: {out.stderr}")
            return json.loads(out.stdout)
        cli("org", "create", "bench", "--plan", "bench")
        quotas = [x for q in ("total", "daily", "weekly", "monthly") for x in (f"--{q}", "1000000000")]
        keys = [cli("key", "create", "--org", "bench", "--name", f"k{i}", *quotas)["key"] for i in range(KEYS)]
        child = self.spawn(PROXY_CORE, self.tollgate, serve, "--config", config, "--json",
                           stdout=subprocess.PIPE, text=True, stderr=open(f"{self.dir}/{name}.err", "w"))
        ready = json.loads(child.stdout.readline())
        self.control[child.pid] = int(ready["control_addr"].rsplit(":", 1)[1])
        return child.pid, int(ready["data_addr"].rsplit(":", 1)[1]), keys

    def wrk(self, port, path, seconds, keys, connections=64):
        script = self.write(f"wrk-{port}.lua", f"""
local keys = {{ {', '.join(f'"{k}"' for k in keys)} }}
local n = 0
local requests = {{}}
init = function(args)
  for i, k in ipairs(keys) do requests[i] = wrk.format("GET", "{path}", {{ ["X-API-Key"] = k }}) end
end
request = function() n = n + 1; return requests[n % #requests + 1] end
""")
        out = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
                              f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True).stdout
        requests = int(re.search(r"(\d+) requests in", out)[1])
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = re.search(r"Socket errors: (.*)", out)
        return requests, int(bad[1]) if bad else 0, errors[1] if errors else ""

    def idle_kib(self, pid, port, keys, connections=2000):
        """Memory per idle connection that has served one request."""
        def one(sock):
            sock.sendall(f"GET /1024 HTTP/1.1\r\nHost: a\r\nX-API-Key: {keys[0]}\r\n\r\n".encode())
            got = b""
            while b"\r\n\r\n" not in got:
                got += sock.recv(65536)
            need = int(re.search(rb"(?i)content-length: (\d+)", got)[1]) - len(got.split(b"\r\n\r\n", 1)[1])
            while need > 0:
                need -= len(sock.recv(65536))
        warm = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        for s in warm:
            one(s)
        time.sleep(0.5)
        before = rss_kib(pid)
        socks = []
        for _ in range(connections):
            s = socket.create_connection(("127.0.0.1", port))
            one(s)
            socks.append(s)
        time.sleep(1)
        grown = rss_kib(pid) - before
        for s in warm + socks:
            s.close()
        return grown / connections


def get(port, path, headers={}):
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def prove(port, keys, haproxy, nginx):
    status, body = get(port, "/echo", {"X-API-Key": "sk_live_0000000000000000000000000000000"})
    assert status == 401, f"a bad key was answered {status}"
    status, body = get(port, "/echo", {"X-API-Key": keys[0]})
    assert status == 200 and "key=;auth=;org=bench;id=" in body and keys[0] not in body, f"identity: {status} {body}"
    for plain in (haproxy, nginx):
        assert get(plain, "/1024")[0] == 200


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--sizes", default="1024,32768")
    parser.add_argument("--tollgate", default="target/release/tollgate")
    parser.add_argument("--redis", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    need("nginx", "haproxy", "wrk", "taskset", *(["redis-server"] if args.redis else []))
    if not os.path.exists(args.tollgate):
        sys.exit(f"{args.tollgate} is not there: build it with cargo build --release")
    sizes = [int(s) for s in args.sizes.split(",")]
    dir = tempfile.mkdtemp(prefix="tollgate-bench-")
    bench = Bench(os.path.abspath(args.tollgate), dir)
    report = {"sizes": {}}
    try:
        up = bench.upstream(sizes + [1024])
        contestants = {"haproxy": bench.haproxy(up), "nginx": bench.plain_nginx(up)}
        pid, port, keys = bench.gateway(up)
        contestants["tollgate"] = (pid, port)
        prove(port, keys, contestants["haproxy"][1], contestants["nginx"][1])
        # First: memory that a gateway has had in use for other things would hide what connections take.
        report["idle_connection_kib"] = round(bench.idle_kib(pid, port, keys), 1)
        keys_of = dict.fromkeys(contestants, keys)
        if args.redis:
            *contestants["redis"], keys_of["redis"] = bench.gateway(up, "redis", bench.redis())
        for size in sizes:
            rounds = []
            for name, (_, port) in contestants.items():
                bench.wrk(port, f"/{size}", 1, keys_of[name])
            while len(rounds) < args.rounds:
                order = list(contestants) if len(rounds) % 2 == 0 else list(contestants)[::-1]
                round_, clean = {}, True
                for name in order:
                    pid, port = contestants[name]
                    before = cpu_ns(pid)
                    requests, bad, errors = bench.wrk(port, f"/{size}", args.seconds, keys_of[name])
                    round_[name] = (cpu_ns(pid) - before) / requests / 1000
                    round_[name + "_rps"] = requests / args.seconds
                    if bad or errors:
                        clean = False
                        print(f"a round does not count: {name} had {bad} non-2xx answers {errors}", file=sys.stderr)
                if clean:
                    rounds.append(round_)
            median = lambda f: statistics.median(map(f, rounds))
            report["sizes"][size] = {
                "cpu_us": {n: round(median(lambda r: r[n]), 2) for n in contestants},
                "requests_per_second": {n: round(median(lambda r: r[n + "_rps"])) for n in contestants},
                "ratio_to_haproxy": round(median(lambda r: r["tollgate"] / r["haproxy"]), 3),
                "ratio_to_nginx": round(median(lambda r: r["tollgate"] / r["nginx"]), 3),
            }
            if args.redis:
                report["sizes"][size]["redis_to_memory"] = round(median(lambda r: r["redis"] / r["tollgate"]), 3)
    finally:
        bench.stop()
        shutil.rmtree(dir, ignore_errors=True)
    if args.json:
        print(json.dumps(report))
        return
    print(f"| answer body | HAProxy plain | nginx plain | Tollgate, whole job | ÷ HAProxy | ÷ nginx |\n|---|---|---|---|---|---|")
    for size, r in report["sizes"].items():
        c = r["cpu_us"]
        print(f"| {size // 1024} KiB | {c['haproxy']} µs | {c['nginx']} µs | {c['tollgate']} µs | {r['ratio_to_haproxy']} | {r['ratio_to_nginx']} |")
        if args.redis:
            print(f"\nWith counters in Redis {c['redis']} µs: {r['redis_to_memory']} times as much as in memory.")
    print(f"\nCPU per request, medians of {args.rounds} rounds of {args.seconds} s. Memory per idle connection of Tollgate: {report['idle_connection_kib']} KiB.")


if __name__ == "__main__":
    main()
