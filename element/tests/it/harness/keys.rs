//! Key pairs and the tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
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
        self.sign_with(&Header::new(Algorithm::RS256), claims)
    }

    /// Signs and names the key.
    pub(crate) fn sign_as(&self, key_id: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(key_id.to_owned());
        self.sign_with(&header, claims)
    }

    pub(crate) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.signing).unwrap()
    }

    /// The public half as an issuer publishes it.
    pub(crate) fn jwk(&self, key_id: &str) -> Value {
        let mut key = self.public();
        key.common.key_id = Some(key_id.to_owned());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(key).unwrap()
    }

    pub(crate) fn public(&self) -> Jwk {
        Jwk::from_encoding_key(&self.signing, Algorithm::RS256).unwrap()
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
