//! `--dev`: a key pair in the storage folder, tokens signed with it, and the lines to paste.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;

use crate::auth::keys::{PublicKey, public_keys};
use crate::durable;

const PRIVATE: &str = "dev-key.pem";
const PUBLIC: &str = "dev-key.pub.pem";

/// Where the private key of a storage folder is.
pub(crate) fn private_key_path(own_folder: &Path) -> PathBuf {
    own_folder.join(PRIVATE)
}

/// The private key of a storage folder, as PEM.
pub(crate) fn private_key(own_folder: &Path) -> Result<Vec<u8>> {
    let path = private_key_path(own_folder);
    match fs::read(&path) {
        Ok(pem) => Ok(pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no {path:?}: start `artstore-element serve --dev` with this storage folder first")
        }
        Err(error) => Err(error).with_context(|| format!("failed to read {path:?}")),
    }
}

/// The public key of a storage folder; makes the pair first where there is none.
pub(crate) fn public_key(own_folder: &Path) -> Result<Vec<PublicKey>> {
    let path = own_folder.join(PUBLIC);
    if !path.exists() {
        generate(own_folder)?;
    }
    let content = fs::read(&path).with_context(|| format!("failed to read {path:?}"))?;
    public_keys(&content).with_context(|| format!("failed to understand {path:?}"))
}

/// The public key is written last: its presence says that both are there.
fn generate(own_folder: &Path) -> Result<()> {
    let pair = KeyPair::generate(KeySize::Rsa2048).context("failed to generate a key pair")?;
    let private: Pkcs8V1Der<'_> = pair.as_der().context("failed to encode the private key")?;
    let public = pair.public_key().as_der().context("failed to encode the public key")?;
    let private = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", public.as_ref()));
    write_private(&private_key_path(own_folder), private.as_bytes())?;
    let path = own_folder.join(PUBLIC);
    durable::replace(&path, public.as_bytes()).with_context(|| format!("failed to write {path:?}"))
}

/// Writes a file that only its owner may read, from its first byte on.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = || {
        let mut file = options.open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        io::Write::write_all(&mut file, content)?;
        durable::sync_file(&file)?;
        durable::sync_parent(path)
    };
    write().with_context(|| format!("failed to write {path:?}"))
}

/// Lines to paste into a shell.
pub(crate) fn curl_lines((scheme, address): (&str, SocketAddr), token: &str) -> String {
    let host = if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    };
    format!(
        "\
# The element is ready. These work as they are, in another terminal:
export ELEMENT={scheme}://{host}/api/v1
export TOKEN={token}
echo 'Hello, element' > hello.txt
curl -sS -w '\\n' -H \"Authorization: Bearer $TOKEN\" -F file=@hello.txt -F tags=first \"$ELEMENT/files/upload\"
curl -sS -w '\\n' -H \"Authorization: Bearer $TOKEN\" \"$ELEMENT/files/search?q=hello\"
curl -sS -w '\\n' \"$ELEMENT/info\"
# The token is an admin's and good for 12 hours; `artstore-element token --role user --sub bob` prints others.
"
    )
}
