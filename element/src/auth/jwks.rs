//! JSON Web Key Sets (RFC 7517): of what an issuer publishes, the keys that may sign tokens. Knows nothing of where a set comes
//! from. Keys of other kinds are left out, as the RFC asks for: an issuer may publish keys for others too.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::keys::PublicKey;

/// The most keys a set may hold; issuers publish two or three.
const MAX_KEYS: usize = 100;

/// Bits of a modulus, smallest and largest.
const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// Bytes of an exponent; nearly all are 65537.
const MAX_EXPONENT: usize = 4;

/// Why a document is not usable.
#[derive(Debug, Error)]
pub(crate) enum SetError {
    #[error("the document is no JSON Web Key Set")]
    NoSet(#[source] serde_json::Error),
    #[error("the set holds {0} keys, more than the {MAX_KEYS} allowed")]
    TooMany(usize),
    #[error("the set holds no key that may sign tokens")]
    NoKey,
}

/// The keys of an issuer that tokens may be signed with.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    id: Option<String>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    /// Made of the two numbers, which it does not show again.
    key: PublicKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// What matters of one JSON Web Key.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a document. One that holds no key of use is refused: it is far more often an issuer's slip than a wish, and would lock
    /// everybody out.
    pub(crate) fn read(document: &[u8]) -> Result<Self, SetError> {
        let document: Document = serde_json::from_slice(document).map_err(SetError::NoSet)?;
        if document.keys.len() > MAX_KEYS {
            return Err(SetError::TooMany(document.keys.len()));
        }
        let entries = document.keys.into_iter();
        let keys = entries.filter_map(|entry| serde_json::from_value::<Entry>(entry).ok()?.key());
        let keys: Vec<Named> = keys.collect();
        if keys.is_empty() {
            return Err(SetError::NoKey);
        }
        Ok(Self { keys })
    }

    /// Whether both hold the same keys under the same ids, in whatever order.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }

    fn sorted(&self) -> Vec<(Option<&str>, &[u8], &[u8])> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| (key.id.as_deref(), key.modulus.as_slice(), key.exponent.as_slice()))
            .collect();
        keys.sort_unstable();
        keys
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys a token may be signed with: those of its key id, or the only one there is when the token names none.
    pub(crate) fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a PublicKey> {
        let alone = self.keys.len() == 1;
        self.keys
            .iter()
            .filter(move |named| match id {
                Some(_) => named.id.as_deref() == id,
                None => alone,
            })
            .map(|named| &named.key)
    }
}

impl Entry {
    /// The key, when it is one for RS256 signatures and strong enough.
    fn key(self) -> Option<Named> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self
                .key_ops
                .as_ref()
                .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
            && self.alg.as_deref().is_none_or(|algorithm| algorithm == "RS256");
        if self.kty != "RSA" || !signs {
            return None;
        }
        let (modulus, exponent) = (number(&self.n?)?, number(&self.e?)?);
        is_strong(&modulus, &exponent).then(|| Named {
            id: self.kid,
            key: DecodingKey::from_rsa_raw_components(&modulus, &exponent),
            modulus,
            exponent,
        })
    }
}

/// A Base64urlUInt, without the zeros that some issuers put in front.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes.into_iter().skip(zeros).collect())
}

fn is_strong(modulus: &[u8], exponent: &[u8]) -> bool {
    let bits = modulus
        .first()
        .map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    // With an exponent of 1 every text is its own signature; an even one is no RSA at all, a long one only slow.
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    MODULUS_BITS.contains(&bits) && odd && exponent != [1] && exponent.len() <= MAX_EXPONENT
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{KeySet, MAX_KEYS, SetError, number};

    /// A modulus of so many bits: odd, its highest bit set.
    fn modulus(bits: usize) -> String {
        let mut bytes = vec![0x5a; bits.div_ceil(8)];
        let top = (bits - 1) % 8;
        bytes[0] = (1 << top) | (0x5a & ((1_u8 << top) - 1));
        *bytes.last_mut().unwrap() |= 1;
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn key(changes: Value) -> Value {
        let mut key =
            json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "a", "n": modulus(2048), "e": "AQAB" });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => key.as_object_mut().unwrap().remove(name),
                value => key.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        key
    }

    fn try_read(keys: &[Value]) -> Result<KeySet, SetError> {
        KeySet::read(json!({ "keys": keys, "more": 1 }).to_string().as_bytes())
    }

    fn read(keys: &[Value]) -> KeySet {
        try_read(keys).unwrap()
    }

    #[test]
    fn only_strong_signing_keys_are_taken() {
        for (changes, taken) in [
            (json!({}), true),
            (json!({ "use": null, "alg": null }), true),
            (json!({ "key_ops": ["verify"], "use": null }), true),
            (json!({ "n": modulus(4096) }), true),
            (json!({ "n": modulus(8192) }), true),
            (json!({ "e": "Aw" }), true),
            (
                json!({ "x5c": ["AAAA"], "x5t": "AAAA", "x5u": "http://127.0.0.1/" }),
                true,
            ),
            (json!({ "use": "enc" }), false),
            (json!({ "use": 7 }), false),
            (json!({ "key_ops": ["encrypt"] }), false),
            (json!({ "alg": "RS512" }), false),
            (json!({ "alg": "PS256" }), false),
            (json!({ "alg": "HS256" }), false),
            (json!({ "kty": "EC" }), false),
            (json!({ "kty": "oct", "k": "AAAA" }), false),
            (json!({ "kty": null }), false),
            (json!({ "n": null }), false),
            (json!({ "n": "" }), false),
            (json!({ "n": "no base64!" }), false),
            (json!({ "n": modulus(1024) }), false),
            (json!({ "n": modulus(2047) }), false),
            (json!({ "n": modulus(8193) }), false),
            (json!({ "e": "" }), false),
            (json!({ "e": "AA" }), false),
            (json!({ "e": "AQ" }), false),
            (json!({ "e": "AQAA" }), false),
            (json!({ "e": modulus(2048) }), false),
            (json!({ "kid": 7 }), false),
        ] {
            match try_read(&[key(changes.clone())]) {
                Ok(set) => assert!(taken && set.len() == 1, "{changes}"),
                Err(error) => assert!(!taken && matches!(error, SetError::NoKey), "{changes}: {error}"),
            }
        }
    }

    #[test]
    fn one_odd_key_does_not_spoil_the_others() {
        let set = read(&[
            json!(7),
            json!(null),
            key(json!({})),
            json!({ "kty": "OKP", "crv": "Ed25519" }),
        ]);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn token_without_a_key_id_is_tried_with_the_only_key_alone() {
        let one = read(&[key(json!({}))]);
        assert_eq!(one.candidates(None).count(), 1);
        assert_eq!(one.candidates(Some("a")).count(), 1);
        assert_eq!(one.candidates(Some("A")).count(), 0);
        assert_eq!(one.candidates(Some("")).count(), 0);
        let two = read(&[key(json!({})), key(json!({ "kid": "b" }))]);
        assert_eq!(two.candidates(None).count(), 0);
        assert_eq!(two.candidates(Some("b")).count(), 1);
        let nameless = read(&[key(json!({ "kid": null }))]);
        assert_eq!(
            (
                nameless.candidates(None).count(),
                nameless.candidates(Some("a")).count()
            ),
            (1, 0)
        );
    }

    #[test]
    fn sets_are_equal_by_ids_and_numbers_in_any_order() {
        let (a, b) = (key(json!({})), key(json!({ "kid": "b" })));
        let both = read(&[a.clone(), b.clone()]);
        assert!(both.equals(&read(&[b.clone(), json!(7), key(json!({ "x5t": "AAAA" }))])));
        for other in [
            vec![a.clone()],
            vec![a.clone(), a.clone()],
            vec![a.clone(), b.clone(), b.clone()],
            vec![a.clone(), key(json!({ "kid": null }))],
            vec![a.clone(), key(json!({ "kid": "b", "e": "Aw" }))],
            vec![a.clone(), key(json!({ "kid": "b", "n": modulus(3072) }))],
        ] {
            assert!(!both.equals(&read(&other)), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_set_or_holds_no_key_of_use_is_refused() {
        for document in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            "{\"keys\":{}}",
            "{\"keys\":[",
            "\u{feff}{\"keys\":[]}",
        ] {
            assert!(KeySet::read(document.as_bytes()).is_err(), "{document}");
        }
        assert!(matches!(try_read(&[]), Err(SetError::NoKey)));
        let many = vec![key(json!({})); MAX_KEYS + 1];
        assert!(KeySet::read(json!({ "keys": many }).to_string().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = KeySet::read(&bytes);
        }

        #[test]
        fn any_numbers_make_a_strong_key_or_none(n in prop::collection::vec(any::<u8>(), 0..1100), e in prop::collection::vec(any::<u8>(), 0..8)) {
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let set = try_read(&[key(json!({ "n": encode(&n), "e": encode(&e) }))]);
            let length = number(&encode(&n)).unwrap().len();
            prop_assert!(set.is_err() || (256..=1024).contains(&length));
        }
    }
}
