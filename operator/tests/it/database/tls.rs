//! Each `sslMode` against a server with TLS and one without; the TLS side is a door of the test's own before the real server.

use std::sync::Arc;

use artstore_operator::database::{AdminAccess, DatabaseError, DatabaseServer, PostgresServer, Released, SslMode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::scene::with_scene;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("a CA")
}

/// A door with TLS to the server behind `admin`, its certificate for `name`; gives the port.
async fn tls_door(admin: &AdminAccess, authority: &Authority, name: &str) -> u16 {
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, authority).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = (admin.host.clone(), admin.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A client that refuses the certificate ends its connection here, as it should.
            tokio::spawn(carry(client, acceptor.clone(), server.clone()));
        }
    });
    port
}

async fn carry(mut client: TcpStream, acceptor: TlsAcceptor, server: (String, u16)) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    // The code of an SSLRequest; who speaks plainly is shown the door.
    if request[4..] != 80_877_103_u32.to_be_bytes() {
        return Ok(());
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Connected,
    Tls,
    Unreachable,
}

#[tokio::test]
async fn each_mode_accepts_and_refuses_what_its_name_says() {
    with_scene(async |scene| {
        let (ours, other) = (authority(), authority());
        let right = tls_door(&scene.admin, &ours, "127.0.0.1").await;
        let wrong_name = tls_door(&scene.admin, &ours, "elsewhere.example").await;
        let plain = scene.admin.port;
        let cases = [
            (SslMode::Disable, None, plain, Outcome::Connected),
            (SslMode::Disable, None, right, Outcome::Unreachable),
            (SslMode::Prefer, None, plain, Outcome::Connected),
            (SslMode::Prefer, None, right, Outcome::Connected),
            (SslMode::Require, None, plain, Outcome::Tls),
            (SslMode::Require, None, right, Outcome::Connected),
            (SslMode::Require, Some(&ours), wrong_name, Outcome::Connected),
            (SslMode::Require, Some(&other), right, Outcome::Tls),
            (SslMode::VerifyCa, None, right, Outcome::Tls),
            (SslMode::VerifyCa, Some(&ours), wrong_name, Outcome::Connected),
            (SslMode::VerifyCa, Some(&other), right, Outcome::Tls),
            (SslMode::VerifyCa, Some(&ours), plain, Outcome::Tls),
            (SslMode::VerifyFull, Some(&ours), right, Outcome::Connected),
            (SslMode::VerifyFull, Some(&ours), wrong_name, Outcome::Tls),
            (SslMode::VerifyFull, Some(&other), right, Outcome::Tls),
        ];
        for (ssl_mode, ca, port, expected) in cases {
            let access = AdminAccess {
                host: "127.0.0.1".to_owned(),
                port,
                ssl_mode,
                ca_certificate: ca.map(|ca| ca.pem().into_bytes()),
                ..scene.admin.clone()
            };
            let outcome = match PostgresServer::default()
                .release(&access, &scene.claim("one", "one_"))
                .await
            {
                Ok(Released::Nothing) => Outcome::Connected,
                Err(DatabaseError::Tls { .. }) => Outcome::Tls,
                Err(DatabaseError::Unreachable { .. }) => Outcome::Unreachable,
                other => panic!("{ssl_mode:?}: {other:?}"),
            };
            assert_eq!(
                outcome,
                expected,
                "{ssl_mode:?}, CA given: {}, port {port}",
                ca.is_some()
            );
        }
    })
    .await;
}
