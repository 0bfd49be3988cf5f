//! The SCRAM-SHA-256 verifier of a password, as PostgreSQL stores it (RFC 5803). Sending it in place of the password keeps
//! the password out of the server's statement log.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::DatabaseError;

/// PostgreSQL's own count (`scram_iterations`).
const ITERATIONS: NonZeroU32 = match NonZeroU32::new(4096) {
    Some(count) => count,
    None => NonZeroU32::MIN,
};
/// PostgreSQL's own length.
const SALT_BYTES: usize = 16;

/// The verifier for `password` under a fresh salt. Only printable ASCII, which needs no SASLprep, is taken.
pub(super) fn verifier(password: &SecretString) -> Result<String, DatabaseError> {
    let invalid = |problem: &str| DatabaseError::Invalid {
        field: "role password",
        problem: problem.to_owned(),
    };
    let password = password.expose_secret();
    if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(invalid("must be printable ASCII and not empty"));
    }
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| invalid("could not be salted: the system gives no random bytes"))?;
    Ok(with_salt(password, &salt))
}

fn with_salt(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_never_holds_the_password_and_differs_each_time() {
        let password = SecretString::from("correct horse");
        let (first, second) = (verifier(&password).expect("valid"), verifier(&password).expect("valid"));
        assert!(first.starts_with("SCRAM-SHA-256$4096:") && !first.contains("correct"));
        assert_ne!(first, second);
    }

    #[test]
    fn passwords_that_need_preparation_are_refused() {
        for bad in ["", "пароль", "tab\there"] {
            let error = verifier(&SecretString::from(bad)).expect_err("refused");
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
    }
}
