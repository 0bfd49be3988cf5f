//! Whom the element believes when it calls others by HTTPS.

use std::env;

use reqwest::{Certificate, ClientBuilder};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Variables that name the authorities of all programs.
const NAMED: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Sets up a client of the server at `url`. With `authorities` only those may vouch for it. Else whoever `SSL_CERT_FILE` or
/// `SSL_CERT_DIR` names; without them the system's authorities and the public ones (Mozilla's list: an image from scratch has none).
pub(crate) fn trusting(builder: ClientBuilder, url: &str, authorities: Option<Vec<Certificate>>) -> ClientBuilder {
    if let Some(authorities) = authorities {
        return builder.tls_certs_only(authorities);
    }
    if url.starts_with("http://") {
        // There is nothing to verify, so nothing needs to be read.
        return builder.tls_certs_only([]);
    }
    if NAMED.iter().any(|variable| env::var_os(variable).is_some()) {
        return builder;
    }
    let public = TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|authority| Certificate::from_der(authority));
    // INVARIANT: these are certificates; a test reads each.
    builder.tls_certs_merge(public.flatten())
}

#[cfg(test)]
mod tests {
    use reqwest::{Certificate, Client};
    use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

    use super::trusting;

    #[test]
    fn every_public_authority_is_taken() {
        assert!(TLS_SERVER_ROOT_CERTS.len() > 100);
        for authority in TLS_SERVER_ROOT_CERTS {
            assert!(Certificate::from_der(authority).is_ok());
        }
        for url in ["https://s3.example.com", "http://s3:9000"] {
            assert!(trusting(Client::builder(), url, None).build().is_ok());
        }
    }
}
