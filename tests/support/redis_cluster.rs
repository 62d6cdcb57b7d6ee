//! A real Redis Cluster: three masters, each with a replica; failed over, and its slots moved.

use std::time::{Duration, Instant};

use super::redis_server::{RedisServer, free_port};

/// Slots of a cluster.
pub const SLOTS: usize = 16_384;
/// Masters, each with as many slots as any other.
const MASTERS: usize = 3;
/// How long a master may be silent before the others have it replaced.
const NODE_TIMEOUT: Duration = Duration::from_millis(600);
/// How long nodes may take to agree, on a machine that is busy building.
const AGREED_WITHIN: Duration = Duration::from_secs(30);

/// Six servers: the masters, then their replicas in the same order.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one in which everybody knows everybody.
    pub fn start() -> Self {
        let timeout = NODE_TIMEOUT.as_millis().to_string();
        let start = || {
            let bus = free_port().to_string();
            let arguments = [
                ["--cluster-enabled", "yes"],
                ["--cluster-config-file", "nodes.conf"],
                ["--cluster-node-timeout", &timeout],
                // Without this, all slots are out of service while one master is.
                ["--cluster-require-full-coverage", "no"],
                ["--cluster-port", &bus],
                ["--repl-diskless-sync-delay", "0"],
            ];
            RedisServer::start_with(arguments.concat().into_iter().map(ToOwned::to_owned).collect())
        };
        // One whose second port was taken in the meantime ends right after it has begun to listen on its first.
        let lives = |node: &RedisServer| node.command(&["PING"]).trim() == "PONG";
        let node = || (0..5).map(|_| start()).find(lives).expect("a free port for the bus");
        let cluster = Self { nodes: (0..2 * MASTERS).map(|_| node()).collect() };
        for (place, master) in cluster.nodes[..MASTERS].iter().enumerate() {
            let edge = |place: usize| place * SLOTS / MASTERS;
            let (first, last) = (edge(place).to_string(), (edge(place + 1) - 1).to_string());
            assert_eq!(master.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).trim(), "OK");
            let epoch = (place + 1).to_string();
            assert_eq!(master.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).trim(), "OK");
        }
        for node in &cluster.nodes[1..] {
            let (port, bus) = (node.port.to_string(), node.more[9].clone());
            cluster.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        cluster.until("everybody knows everybody", |node| {
            let known = node.command(&["CLUSTER", "NODES"]);
            known.lines().count() == 2 * MASTERS && !known.contains("handshake")
        });
        for place in 0..MASTERS {
            let master = cluster.id(place);
            cluster.nodes[place + MASTERS].command(&["CLUSTER", "REPLICATE", &master]);
        }
        cluster.until_whole();
        cluster
    }

    /// Waits until every slot is served, and every replica has all its master has.
    pub fn until_whole(&self) {
        self.until("it is whole", |node| {
            let (info, role) = (node.command(&["CLUSTER", "INFO"]), node.command(&["INFO", "replication"]));
            let nodes = node.command(&["CLUSTER", "NODES"]);
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_slots_ok:{SLOTS}"))
                && nodes.matches("slave").count() == MASTERS
                && !nodes.contains("fail")
                && (role.contains("role:master") && role.contains("state=online")
                    || role.contains("master_link_status:up"))
        });
    }

    fn until(&self, what: &str, holds: impl Fn(&RedisServer) -> bool) {
        let deadline = Instant::now() + AGREED_WITHIN;
        for node in &self.nodes {
            while !holds(node) {
                assert!(
                    Instant::now() < deadline,
                    "not in time: {what}\n{}",
                    node.command(&["CLUSTER", "NODES"])
                );
                #[allow(clippy::disallowed_methods, reason = "waits for other processes, in a test")]
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// The URL that a gateway is given: two of the nodes are enough.
    pub fn url(&self) -> String {
        format!("redis+cluster://{},{}", self.nodes[0].address(), self.nodes[4].address())
    }

    /// A node's id.
    pub fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"]).trim().to_owned()
    }

    /// The slot of an organization.
    pub fn slot(&self, organization: &str) -> usize {
        let key = format!("{{{organization}}}");
        self.nodes[1].command(&["CLUSTER", "KEYSLOT", &key]).trim().parse().unwrap()
    }

    /// The node that is a slot's master now, as another node tells.
    pub fn master_of(&self, slot: usize, asked: usize) -> usize {
        let slots = self.nodes[asked].command(&["CLUSTER", "SLOTS"]);
        let lines: Vec<&str> = slots.lines().collect();
        let number = |text: &str| text.parse::<usize>().ok();
        // First and last slot, then the master's address, port and id.
        let port = lines.windows(5).find_map(|lines| {
            let (first, last, port) = (number(lines[0])?, number(lines[1])?, number(lines[3])?);
            (lines[4].len() == 40 && (first..=last).contains(&slot)).then_some(port)
        });
        self.nodes.iter().position(|node| Some(usize::from(node.port)) == port).unwrap()
    }

    /// Organizations with the master they have at the beginning, by that: `each` of every one.
    pub fn organizations(&self, each: usize) -> Vec<(String, usize)> {
        let mut found: Vec<(String, usize)> = Vec::new();
        for number in 0.. {
            let name = format!("acme-{number}");
            let master = self.slot(&name) * MASTERS / SLOTS;
            if found.iter().filter(|(_, known)| *known == master).count() < each {
                found.push((name, master));
            }
            if found.len() == each * MASTERS {
                break;
            }
        }
        found.sort_by_key(|(_, master)| *master);
        found
    }
}
