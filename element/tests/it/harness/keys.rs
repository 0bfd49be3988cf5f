//! Key pairs and the tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

/// The pair the elements of these tests trust.
pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(Keys::new);

pub(crate) struct Keys {
    pub(crate) private_pem: String,
    pub(crate) public_pem: String,
    signing: EncodingKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public = pair.public_key().as_der().unwrap();
        let private_pem = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
        Self {
            signing: EncodingKey::from_rsa_pem(private_pem.as_bytes()).unwrap(),
            public_pem: pem::encode(&pem::Pem::new("PUBLIC KEY", public.as_ref())),
            private_pem,
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::RS256), claims, &self.signing).unwrap()
    }

    /// A good token for a role.
    pub(crate) fn token(&self, role: &str) -> String {
        self.sign(&claims(role))
    }
}

pub(crate) fn claims(role: &str) -> Value {
    let now = get_current_timestamp();
    json!({ "sub": format!("{role}-1"), "preferred_username": format!("{role}-name"), "name": "Full Name",
        "role": role, "iat": now, "exp": now + 3600 })
}
