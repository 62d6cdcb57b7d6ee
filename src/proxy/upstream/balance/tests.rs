//! Over real sockets: who gets a request, and who no longer does.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::config;

use super::*;

fn upstream(targets: &[(&str, usize)], health: Health) -> Upstream {
    Upstream {
        name: "scraper".into(),
        targets: targets
            .iter()
            .map(|(address, weight)| config::Target { address: (*address).into(), weight: *weight })
            .collect(),
        credential: None,
        connect_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(1),
        idle_max: 1,
        idle_timeout: Duration::from_secs(1),
        retries: 1,
        health,
    }
}

fn unprobed() -> Health {
    Health { every: Duration::ZERO, timeout: Duration::ZERO, path: None, rise: 1, fall: 1 }
}

fn probed(path: Option<&str>) -> Health {
    Health {
        every: Duration::from_millis(10),
        timeout: Duration::from_millis(500),
        path: path.map(str::to_owned),
        rise: 2,
        fall: 3,
    }
}

/// How often each target is chosen in `turns` turns.
fn chosen(balancers: &Balancers, turns: usize) -> HashMap<SocketAddr, usize> {
    let mut chosen = HashMap::new();
    for _ in 0..turns {
        *chosen.entry(balancers.select(0, &[]).unwrap().address()).or_default() += 1;
    }
    chosen
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn weights_keep_their_ratio_in_few_places() {
    for (weights, fitted) in [
        (&[1, 1][..], &[1, 1][..]),
        (&[840, 1680, 4200], &[1, 2, 5]),
        (&[420, 420, 840], &[1, 1, 2]),
        (&[7], &[1]),
        (&[usize::MAX, usize::MAX], &[1, 1]),
        (&[1_000_000, 1], &[4093, 1]),
        (&[3_000_000, 1_000_001], &[3070, 1023]),
    ] {
        let address = "127.0.0.1:1".parse().unwrap();
        let mut places: Vec<_> = weights.iter().map(|weight| Place { address, weight: *weight }).collect();
        fit(&mut places);
        assert_eq!(places.iter().map(|place| place.weight).collect::<Vec<_>>(), fitted, "{weights:?}");
    }
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let targets =
        [("127.0.0.1:1001", 1), ("127.0.0.1:1002", 2), ("127.0.0.1:1003", 5), ("127.0.0.1:1004", 0)];
    let balancers = Balancers::start(&[upstream(&targets, unprobed())], None).await.unwrap();
    let chosen = chosen(&balancers, 800);
    assert_eq!(chosen.len(), 3);
    for (address, weight) in &targets[..3] {
        assert_eq!(chosen[&address.parse().unwrap()], weight * 100, "{address}");
    }
}

#[tokio::test]
async fn what_was_tried_is_passed_over() {
    let targets = [("127.0.0.1:1001", 1), ("127.0.0.1:1002", 9), ("127.0.0.1:1003", 1)];
    let balancers = Balancers::start(&[upstream(&targets, unprobed())], None).await.unwrap();
    for _ in 0..50 {
        let mut tried = Vec::new();
        while let Some(target) = balancers.select(0, &tried) {
            assert!(!tried.contains(&target.address()));
            tried.push(target.address());
        }
        assert_eq!(tried.len(), 3);
    }
    assert!(balancers.select(1, &[]).is_none(), "an upstream that is not there");
}

#[tokio::test]
async fn the_rest_share_what_an_unhealthy_target_cannot_take() {
    let targets = [("127.0.0.1:1001", 1), ("127.0.0.1:1002", 1), ("127.0.0.1:1003", 1)];
    let balancers = Balancers::start(&[upstream(&targets, unprobed())], None).await.unwrap();
    let (_, all) = balancers.targets().next().unwrap();
    all[1].set_healthy(false);
    let chosen = chosen(&balancers, 300);
    assert_eq!(chosen.len(), 2);
    assert!(chosen.values().all(|times| (100..=200).contains(times)), "{chosen:?}");
    all.iter().for_each(|target| target.set_healthy(false));
    assert!(balancers.select(0, &[]).is_none());
}

#[tokio::test]
async fn a_name_stands_for_all_its_addresses() {
    let upstream = upstream(&[("localhost:1001", 1), ("127.0.0.9:1001", 1)], unprobed());
    let balancers = Balancers::start(&[upstream], None).await.unwrap();
    let chosen = chosen(&balancers, 100);
    assert_eq!(chosen[&"127.0.0.9:1001".parse().unwrap()], 50, "{chosen:?}");
    let by_name: Vec<_> = chosen.keys().filter(|address| address.ip().to_string() != "127.0.0.9").collect();
    assert!(!by_name.is_empty() && by_name.iter().all(|address| address.ip().is_loopback()), "{chosen:?}");
}

#[tokio::test]
async fn what_does_not_resolve_is_named() {
    for (target, weight, says) in [
        ("127.0.0.1:port", 1, "upstream `scraper`: cannot resolve target `127.0.0.1:port`"),
        ("127.0.0.1:1", 0, "upstream `scraper` has no target with a weight above 0"),
    ] {
        let error = Balancers::start(&[upstream(&[(target, weight)], unprobed())], None).await.unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_is_out_and_comes_back() {
    let staying = TcpListener::bind("127.0.0.1:0").unwrap();
    let dying = TcpListener::bind("127.0.0.1:0").unwrap();
    let (stays, dies) = (staying.local_addr().unwrap(), dying.local_addr().unwrap());
    let targets = [(&*stays.to_string(), 1), (&*dies.to_string(), 1)];
    let balancers = Balancers::start(&[upstream(&targets, probed(None))], None).await.unwrap();
    assert_eq!(chosen(&balancers, 10).len(), 2);
    drop(dying);
    until("it is out", || !chosen(&balancers, 4).contains_key(&dies)).await;
    assert_eq!(chosen(&balancers, 100)[&stays], 100);
    let _back = TcpListener::bind(dies).unwrap();
    until("it is back", || chosen(&balancers, 4).contains_key(&dies)).await;
}

/// A target that answers probes with the status it is told, and counts them by status. Status 0: no answer.
struct Clinic {
    address: SocketAddr,
    status: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    heads: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Clinic {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clinic = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicUsize::new(204)),
            failed: Arc::default(),
            heads: Arc::default(),
        };
        let (status, failed, heads) =
            (Arc::clone(&clinic.status), Arc::clone(&clinic.failed), Arc::clone(&clinic.heads));
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    head.push(byte[0]);
                }
                heads.lock().push(String::from_utf8(head).unwrap());
                match status.load(Ordering::SeqCst) {
                    0 => unanswered.push(stream),
                    status => {
                        if status >= 300 {
                            failed.fetch_add(1, Ordering::SeqCst);
                        }
                        let _ = write!(stream, "HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
                    }
                }
            }
        });
        clinic
    }

    fn text(&self) -> String {
        self.address.to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_by_path_wants_a_2xx() {
    let clinic = Clinic::start();
    let health = probed(Some("/health?deep=1"));
    let fall = health.fall;
    let balancers = Balancers::start(&[upstream(&[(&clinic.text(), 1)], health)], None).await.unwrap();
    until("it is probed", || clinic.heads.lock().len() > 3).await;
    assert!(balancers.select(0, &[]).is_some());
    let head = clinic.heads.lock()[0].to_lowercase();
    assert!(head.starts_with("get /health?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", clinic.address)), "{head}");

    clinic.status.store(500, Ordering::SeqCst);
    until("it is out", || balancers.select(0, &[]).is_none()).await;
    let failed = clinic.failed.load(Ordering::SeqCst);
    assert!((fall..=fall + 2).contains(&failed), "out after {failed} failed probes");

    clinic.status.store(200, Ordering::SeqCst);
    until("it is back", || balancers.select(0, &[]).is_some()).await;
    clinic.status.store(302, Ordering::SeqCst);
    until("a redirection is no answer", || balancers.select(0, &[]).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_accepts_but_does_not_answer_is_out() {
    let clinic = Clinic::start();
    clinic.status.store(0, Ordering::SeqCst);
    let health = Health { timeout: Duration::from_millis(20), ..probed(Some("/health")) };
    let balancers = Balancers::start(&[upstream(&[(&clinic.text(), 1)], health)], None).await.unwrap();
    until("it is out", || balancers.select(0, &[]).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_probes_have_learnt() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let health = Health { every: Duration::from_millis(10), ..probed(None) };
    let same = upstream(&[(&gone, 1)], health.clone());
    let first = Balancers::start(std::slice::from_ref(&same), None).await.unwrap();
    until("it is out", || first.select(0, &[]).is_none()).await;

    let other = Upstream { name: "other".into(), ..same.clone() };
    let patient = Upstream { answer_timeout: Duration::from_secs(9), ..same.clone() };
    let second = Balancers::start(&[other, patient], Some(&first)).await.unwrap();
    assert!(second.select(0, &[]).is_some(), "a new upstream is taken for healthy");
    assert!(second.select(1, &[]).is_none(), "the same is known to be out, whatever its timeouts");
    let changed = Upstream { health: Health { fall: 9, ..health }, ..same };
    let third = Balancers::start(&[changed], Some(&second)).await.unwrap();
    assert!(third.select(0, &[]).is_some(), "probed in another way: it starts afresh");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probing_ends_with_its_last_user() {
    let clinic = Clinic::start();
    let upstream = upstream(&[(&clinic.text(), 1)], probed(Some("/health")));
    let first = Balancers::start(std::slice::from_ref(&upstream), None).await.unwrap();
    let target = Arc::downgrade(first.select(0, &[]).unwrap());
    let second = Balancers::start(&[upstream], Some(&first)).await.unwrap();
    drop(first);
    let probes = clinic.heads.lock().len();
    until("it is probed on", || clinic.heads.lock().len() > probes + 3).await;
    drop(second);
    until("the task is gone, and with it the last hold on the target", || target.upgrade().is_none()).await;
}
