//! Redis behind TLS: the server's certificate is checked against what this machine trusts, and a login is sent.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::support::{Answer, Gateway, RedisServer, SOON, Upstream, free_port, wait_until};
use super::{burst, config, outage::is_up};

/// Writes an authority into `ca.pem` of a directory, and a server's certificate and key beside it.
fn certify(directory: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    for (name, text) in
        [("ca.pem", authority.pem()), ("cert.pem", server.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(directory.join(name), text).unwrap();
    }
}

/// A server with a port for TLS, and that port.
fn start(directory: &Path, more: &[&str]) -> (RedisServer, u16) {
    let file = |name: &str| directory.join(name).display().to_string();
    let port = free_port();
    let mut arguments: Vec<String> = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file("cert.pem")),
        ("--tls-key-file", file("key.pem")),
        ("--tls-ca-cert-file", file("ca.pem")),
        ("--tls-auth-clients", "no".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect();
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    (RedisServer::start_with(arguments), port)
}

/// A gateway that counts at `url` and trusts `authority` alone, and a key for ten requests.
async fn gateway(url: &str, authority: &str, upstream: &Upstream, shared: &Path) -> (Gateway, String) {
    let text = config(upstream.address, url, shared, "[plans.wide]");
    let gateway = Gateway::start_with(&text, &[("SSL_CERT_FILE", authority)]).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let (_, key) = gateway.key("acme", "k", &["--total", "10"]).await;
    (gateway, key)
}

#[tokio::test]
async fn a_server_and_a_cluster_are_spoken_to_by_tls_with_a_login_and_strangers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let records = [(); 3].map(|()| tempfile::tempdir().unwrap());
    certify(directory.path());
    let upstream = Upstream::start(|_| Answer::new(200));
    let authority = directory.path().join("ca.pem").display().to_string();

    let (single, port) = start(directory.path(), &["--requirepass", "p@ss"]);
    let url = format!("rediss://:p%40ss@127.0.0.1:{port}");
    let (counting, key) = gateway(&url, &authority, &upstream, records[0].path()).await;
    assert_eq!(burst(&[counting], &key, 2, 10).await.0, 10);
    assert!(single.command(&["-a", "p@ss", "DBSIZE"]).trim().parse::<usize>().unwrap() >= 3);

    let bus = free_port().to_string();
    let clustered = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--tls-cluster", "yes"];
    let (cluster, port) = start(directory.path(), &clustered);
    assert_eq!(cluster.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).trim(), "OK");
    cluster.command(&["ACL", "SETUSER", "gate", "on", ">p@ss", "~*", "+@all"]);
    cluster.command(&["ACL", "SETUSER", "default", "off"]);
    let url = format!("rediss+cluster://gate:p%40ss@127.0.0.1:{port}");
    let (counting, key) = gateway(&url, &authority, &upstream, records[1].path()).await;
    wait_until("the cluster is known", SOON, async || is_up(&counting).await).await;
    assert_eq!(burst(&[counting], &key, 2, 10).await.0, 10);
    let asked = ["--user", "gate", "-a", "p@ss", "EXISTS", "tollgate:{acme}:o"];
    assert_eq!(cluster.command(&asked).trim(), "1");

    // An authority of which nobody has heard.
    let stranger = tempfile::tempdir().unwrap();
    certify(stranger.path());
    let other = stranger.path().join("ca.pem").display().to_string();
    let (wary, key) = gateway(&url, &other, &upstream, records[2].path()).await;
    assert!(!is_up(&wary).await);
    let log = wary.stderr();
    assert_eq!(burst(&[wary], &key, 2, 10).await.0, 10, "its share serves");
    assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
}
