//! Who has which slots, as a node of the cluster says.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use redis::{Pipeline, Value};

use super::slots::SLOTS;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `HOST:PORT`; where the host is empty it is `asked`, the one that named the address.
    pub fn parse(text: &str, asked: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self { host: if host.is_empty() { asked } else { host }.to_owned(), port: port.parse().ok()? })
    }

    /// Reads `HOST:PORT`, or `HOST`, for a server at Redis's own port.
    pub fn of_seed(text: &str) -> Option<Self> {
        let with_port = if text.contains(':') { text.to_owned() } else { format!("{text}:6379") };
        Self::parse(&with_port, "").filter(|address| !address.host.is_empty())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A master and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    pub address: Address,
    /// The ids of its replicas, and its own.
    pub members: Vec<String>,
    pub slots: Vec<RangeInclusive<usize>>,
}

/// What one node knows of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    /// Whether it reaches most of the masters; of several answers, one with this is right.
    pub is_ok: bool,
    /// The last change of masters that it knows of: the higher, the newer.
    pub epoch: u64,
    /// By their ids.
    pub masters: BTreeMap<String, Master>,
}

/// The question.
pub(super) fn question() -> Pipeline {
    let mut question = Pipeline::new();
    question.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    question
}

/// The answer of the node at `asked`. `None` where it cannot be read, or names no master.
pub(super) fn read(answer: &[Value], asked: &str) -> Option<Topology> {
    let [info, ranges] = answer else { return None };
    let info = text(info)?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let Value::Array(ranges) = ranges else { return None };
    let mut masters: BTreeMap<String, Master> = BTreeMap::new();
    for range in ranges {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), nodes @ ..] = &range[..] else { return None };
        let slots = usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?;
        let (address, id) = node(nodes.first()?, asked)?;
        // Of a node that is in trouble not even the address may be known.
        let Some(address) = address else { continue };
        let members = nodes.iter().filter_map(|member| node(member, asked)).map(|(_, id)| id).collect();
        if *slots.end() >= SLOTS {
            return None;
        }
        masters.entry(id).or_insert(Master { address, members, slots: Vec::new() }).slots.push(slots);
    }
    let is_ok = field("cluster_state")?.trim() == "ok";
    let epoch = field("cluster_current_epoch")?.trim().parse().ok()?;
    (!masters.is_empty()).then_some(Topology { is_ok, epoch, masters })
}

/// A node's address, where it is known, and its id.
fn node(value: &Value, asked: &str) -> Option<(Option<Address>, String)> {
    let Value::Array(parts) = value else { return None };
    let [host, Value::Int(port), id, ..] = &parts[..] else { return None };
    let host = match host {
        // It does not know its own: it is the one that was asked for.
        Value::Nil => asked.to_owned(),
        host => text(host)?,
    };
    let host = if host.is_empty() { asked.to_owned() } else { host };
    let port = u16::try_from(*port).ok()?;
    Some(((host != "?" && port > 0).then_some(Address { host, port }), text(id)?))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn node(host: Value, port: i64, id: &str) -> Value {
        Value::Array(vec![host, Value::Int(port), bulk(id), Value::Array(Vec::new())])
    }

    #[test]
    fn an_answer_names_masters_their_replicas_and_slots() {
        let info = bulk("cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:6\r\n");
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let ranges = Value::Array(vec![
            range(0, 99, vec![node(bulk("10.0.0.1"), 6379, "a"), node(bulk("10.0.0.4"), 6379, "d")]),
            range(100, 199, vec![node(bulk("?"), 6379, "b")]),
            range(200, 16_383, vec![node(Value::Nil, 6380, "c")]),
            range(100, 100, vec![node(bulk("10.0.0.1"), 6379, "a"), node(bulk("10.0.0.4"), 6379, "d")]),
        ]);
        let known = read(&[info.clone(), ranges], "10.0.0.9").unwrap();
        assert!(known.is_ok);
        assert_eq!(known.epoch, 6);
        let told: Vec<_> = known
            .masters
            .iter()
            .map(|(id, master)| {
                (&**id, master.address.to_string(), master.members.join(" "), master.slots.clone())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a", "10.0.0.1:6379".to_owned(), "a d".to_owned(), vec![0..=99, 100..=100]),
                ("c", "10.0.0.9:6380".to_owned(), "c".to_owned(), vec![200..=16_383]),
            ]
        );
        assert_eq!(read(&[info.clone(), Value::Array(Vec::new())], "h"), None, "no cluster yet");
        assert_eq!(read(&[info, Value::Nil], "h"), None);
    }

    #[test]
    fn an_address_may_leave_out_the_host_that_named_it() {
        let parse = |text| Address::parse(text, "asked").map(|address| address.to_string());
        assert_eq!(parse("10.0.0.1:7000"), Some("10.0.0.1:7000".into()));
        assert_eq!(parse(":7000"), Some("asked:7000".into()));
        assert_eq!(parse("::1:7000"), Some("[::1]:7000".into()));
        assert_eq!(parse("[::1]:7000"), Some("[::1]:7000".into()));
        assert_eq!(parse("host"), None);
        let seed = |text| Address::of_seed(text).map(|address| address.to_string());
        assert_eq!(seed("host"), Some("host:6379".into()));
        assert_eq!(seed("host:1"), Some("host:1".into()));
        assert_eq!(seed(":1"), None);
    }
}
