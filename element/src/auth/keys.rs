//! Public keys: where they come from, and one PEM file with one or several RSA keys, as SubjectPublicKeyInfo or PKCS#1.

use aws_lc_rs::rsa;
use jsonwebtoken::DecodingKey;
use thiserror::Error;

use super::issuer::Issuer;

/// A key that tokens may be signed with.
pub(crate) type PublicKey = DecodingKey;

/// The keys that tokens may be signed with.
pub(crate) enum Keys {
    /// Those of a file, read at the start. A token may be signed with any.
    Fixed(Vec<PublicKey>),
    /// Those the issuer publishes.
    Issuer(Issuer),
}

/// Why a file of keys is not usable.
#[derive(Debug, Error)]
pub(crate) enum KeyError {
    #[error("it is no PEM file: {0}")]
    NoPem(pem::PemError),
    #[error("it holds no key")]
    Empty,
    #[error("it holds a {0}, where only PUBLIC KEY and RSA PUBLIC KEY belong")]
    WrongKind(String),
    #[error("key {0} is no RSA public key of 2048 to 8192 bits")]
    NoRsaKey(usize),
}

/// The keys of a PEM file. All must be good: a key left out would lock its users out without a word.
pub(crate) fn public_keys(content: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let blocks = pem::parse_many(content).map_err(KeyError::NoPem)?;
    if blocks.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut keys = Vec::with_capacity(blocks.len());
    for (number, block) in (1..).zip(&blocks) {
        if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
            return Err(KeyError::WrongKind(block.tag().to_owned()));
        }
        if !is_strong_rsa(block.contents()) {
            return Err(KeyError::NoRsaKey(number));
        }
        keys.push(DecodingKey::from_rsa_der(block.contents()));
    }
    Ok(keys)
}

/// The length of the DER of a key of 2048 bits begins at its modulus's 256 bytes; one of 8192 bits stays below 1100.
fn is_strong_rsa(der: &[u8]) -> bool {
    rsa::PublicKey::from_der(der).is_ok_and(|key| (257..1100).contains(&key.as_ref().len()))
}
