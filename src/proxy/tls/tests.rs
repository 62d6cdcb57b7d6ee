//! Handshakes over real sockets, with certificates made here.

use rcgen::{CertifiedKey, KeyPair};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// A directory with a pair of files, and the certificate in them.
struct Pair {
    _dir: tempfile::TempDir,
    files: config::Tls,
    certificate: CertificateDer<'static>,
}

fn pair() -> Pair {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = config::Tls { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    Pair { _dir: dir, files, certificate: cert.der().clone() }
}

/// A client that trusts one certificate, speaks `protocols`, and ends up with one of them.
async fn handshake(
    acceptor: &Acceptor,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> io::Result<(Option<Vec<u8>>, bool)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = async {
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok::<_, io::Error>(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    let server = async { acceptor.accept(listener.accept().await?.0, Duration::from_secs(10)).await };
    let (client, server) = tokio::join!(client, server);
    Ok((client?, speaks_h2(&server?)))
}

#[tokio::test]
async fn the_protocol_is_the_clients_choice() {
    let pair = pair();
    let acceptor = Acceptor::load(&pair.files).unwrap();
    for (offered, chosen, h2) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..]), true),
        (&[b"http/1.1"], Some(b"http/1.1"), false),
        (&[], None, false),
    ] {
        let got = handshake(&acceptor, &pair.certificate, offered).await.unwrap();
        assert_eq!(got, (chosen.map(<[u8]>::to_vec), h2));
    }
}

#[tokio::test]
async fn a_reload_serves_the_new_certificate_and_a_failed_one_the_old() {
    let (old, new) = (pair(), pair());
    let acceptor = Acceptor::load(&old.files).unwrap();
    let broken = config::Tls { cert: new.files.cert.clone(), key: old.files.key.clone() };
    acceptor.reload(&broken).unwrap_err();
    handshake(&acceptor, &old.certificate, &[]).await.unwrap();
    acceptor.reload(&new.files).unwrap();
    handshake(&acceptor, &new.certificate, &[]).await.unwrap();
    handshake(&acceptor, &old.certificate, &[]).await.unwrap_err();
}

#[tokio::test]
async fn a_slow_handshake_is_left() {
    let acceptor = Acceptor::load(&pair().files).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = listener.accept().await.unwrap().0;
    let error = acceptor.accept(stream, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "the connection is closed");
}

#[test]
fn what_cannot_be_used_is_named() {
    let pair = pair();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let key = std::fs::read_to_string(&pair.files.key).unwrap();
    let cert = std::fs::read_to_string(&pair.files.cert).unwrap();
    for (cert_text, key_text, file, says) in [
        (&*cert, &*other_key, "cert.pem", "does not belong to"),
        (&*cert, "", "key.pem", "holds no private key"),
        ("", &*key, "cert.pem", "holds no certificate"),
        (&*key, &*key, "cert.pem", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &*key, "cert.pem", "not valid PEM"),
        (&*cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n", "key.pem", "not valid PEM"),
    ] {
        std::fs::write(&pair.files.cert, cert_text).unwrap();
        std::fs::write(&pair.files.key, key_text).unwrap();
        let error = Acceptor::load(&pair.files).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(file), "{error}");
        assert!(!error.contains(key.lines().nth(1).unwrap()), "no part of a key is printed: {error}");
    }
    std::fs::remove_file(&pair.files.key).unwrap();
    let error = Acceptor::load(&pair.files).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains(&name(&pair.files.key)), "{error}");
}
