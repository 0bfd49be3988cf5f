//! TLS: the same API over it, new certificates while running, and clients that do not speak it.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Element, GENEROUS, Setup, eventually};

/// A certificate for localhost and its key, in PEM.
fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

fn write(setup: &Setup, (certificate, key): &(String, String)) {
    setup.file("tls.crt", certificate);
    setup.file("tls.key", key);
}

fn with_tls(pair: &(String, String)) -> Setup {
    let mut setup = Setup::embedded();
    write(&setup, pair);
    for (variable, name) in [("SERVER_TLS_CERT_PATH", "tls.crt"), ("SERVER_TLS_KEY_PATH", "tls.key")] {
        let path = setup.folder.path().join(name);
        setup.set(variable, path.to_str().unwrap());
    }
    setup
}

/// A connection of a client that trusts this certificate only.
async fn connect(element: &Element, (certificate, _): &(String, String)) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(element.client.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn get(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(GENEROUS, stream.read_to_end(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn api_is_served_over_tls_and_stops_in_peace() {
    let pair = certificate();
    let setup = with_tls(&pair);
    let element = setup.start_unready(&["serve"]).await;
    eventually("the element is ready", async || {
        let mut stream = connect(&element, &pair).await.unwrap();
        get(&mut stream, "/health/ready").await.starts_with("HTTP/1.1 200 OK")
    })
    .await;
    let mut stream = connect(&element, &pair).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert!(get(&mut stream, "/api/v1/info").await.contains("\"element_id\":\"01\""));
    let idle = connect(&element, &pair).await.unwrap();
    element.stop().await;
    drop(idle);
}

#[tokio::test]
async fn certificate_is_renewed_without_a_restart() {
    let (first, second) = (certificate(), certificate());
    let setup = with_tls(&first);
    let element = setup.start_unready(&["serve"]).await;
    assert!(connect(&element, &second).await.is_err());
    let mut old = connect(&element, &first).await.unwrap();
    // Halfway through the change certificate and key do not fit; the old ones stay in use.
    setup.file("tls.crt", &second.0);
    element.stderr.wait_for("the new certificate is of no use").await;
    assert!(connect(&element, &first).await.is_ok());
    write(&setup, &second);
    eventually("the new certificate is in use", async || {
        connect(&element, &second).await.is_ok()
    })
    .await;
    assert!(connect(&element, &first).await.is_err());
    // Whoever was connected goes on.
    assert!(get(&mut old, "/health/live").await.starts_with("HTTP/1.1 200 OK"));
    assert!(!element.stderr.text().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn client_without_tls_or_without_a_handshake_is_hung_up_on() {
    let pair = certificate();
    let mut setup = with_tls(&pair);
    setup.set("SERVER_FIRST_BYTE_TIMEOUT", "300ms");
    let element = setup.start_unready(&["serve"]).await;
    for begun in [
        &b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"\x16\x03\x01",
        b"",
    ] {
        let mut stream = TcpStream::connect(element.client.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        let _ended = timeout(GENEROUS, stream.read_to_end(&mut answer))
            .await
            .expect("the server hangs up");
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    let mut stream = connect(&element, &pair).await.unwrap();
    assert!(get(&mut stream, "/health/live").await.starts_with("HTTP/1.1 200 OK"));
}
