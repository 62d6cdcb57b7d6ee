//! The way to the server encrypted, and the server held to its certificate.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

use super::support::{Answer, Finished, Gateway, Kept, PASSWORD, Postgres, Upstream, run};
use super::{config, number};

/// Somebody who signs certificates, and the file in which they say who they are.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(name);
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server with a certificate for `host`.
    fn server(&self, host: SanType) -> Postgres {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())];
        Postgres::start_with_files(&["fsync=off", "ssl=on"], &files)
    }
}

/// The configuration of a gateway with what stands behind `?` of its URL.
fn with(server: &Postgres, parameters: &str) -> String {
    let nowhere = ([127, 0, 0, 1], 9).into();
    config(server, nowhere, "").replace(&server.url(), &format!("{}?{parameters}", server.url()))
}

/// Runs a gateway that must not start.
async fn refused(configuration: &str) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("gateway.toml"), configuration).unwrap();
    let finished = run(&["serve", "--config", "gateway.toml"], directory.path()).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("record.url"), "{finished:?}");
    assert!(!finished.stderr.contains(PASSWORD), "{finished:?}");
    finished
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_is_reached_over_tls_and_only_where_the_certificate_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(directory.path(), "ours"), Authority::new(directory.path(), "other"));
    let root = |authority: &Authority| format!("sslrootcert={}", authority.file.display());
    let server = ours.server(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let upstream = Upstream::start(|_| Answer::new(200));
    for parameters in ["sslmode=require".to_owned(), format!("sslmode=verify-full&{}", root(&ours))] {
        let configuration = with(&server, &parameters).replace("127.0.0.1:9", &upstream.address.to_string());
        let gateway = Gateway::start(&configuration).await;
        let name = if parameters.contains("full") { "full" } else { "require" };
        gateway.cli(&["org", "create", name, "--plan", "wide"]).await;
        let (_, key) = gateway.key(name, "k", &[]).await;
        assert_eq!(Kept::new().get(gateway.data, "/", &key).await.unwrap().status, 200);
        let connections = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'tollgate' AND ssl";
        assert!(number(&server, connections).await >= 1, "{parameters}");
        let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'tollgate' AND NOT ssl";
        assert_eq!(number(&server, plain).await, 0, "{parameters}");
    }

    let wrong_authority = refused(&with(&server, &format!("sslmode=verify-full&{}", root(&other)))).await;
    assert_eq!(wrong_authority.stderr.matches("invalid peer certificate: UnknownIssuer").count(), 1);
    let elsewhere = ours.server(SanType::DnsName("db.example.com".try_into().unwrap()));
    let wrong_name = refused(&with(&elsewhere, &format!("sslmode=verify-full&{}", root(&ours)))).await;
    let name = "certificate not valid for name \"127.0.0.1\"";
    assert_eq!(wrong_name.stderr.matches(name).count(), 1, "{wrong_name:?}");
    // Whose certificate it is was not asked.
    let gateway = Gateway::start(&with(&elsewhere, &format!("sslmode=verify-ca&{}", root(&ours)))).await;
    drop(gateway);

    let without = Postgres::start();
    let plain = refused(&with(&without, "sslmode=require")).await;
    assert_eq!(plain.stderr.matches("server does not support TLS").count(), 1, "{plain:?}");
}
