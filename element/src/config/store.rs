//! Where files are kept: a folder, a folder that several servers share, or a bucket.

use std::path::Path;

use secrecy::SecretString;

use super::ConfigError;
use super::args::ElementArgs;
use super::value::Value;
use crate::store::{S3Config, StoreConfig};

const DEFAULT_REGION: &str = "us-east-1";

/// The longest name of a bucket, and of a folder in it; the rest of a key needs room too.
const MAX_BUCKET: usize = 63;
const MAX_FOLDER: usize = 512;

pub(super) fn read(args: ElementArgs, element_id: &str, root: &Path) -> Result<StoreConfig, ConfigError> {
    let shared = Value::new("STORAGE_SHARED", args.storage_shared)?;
    let settings = [
        Value::new("STORAGE_S3_ENDPOINT_URL", args.storage_s3_endpoint_url)?,
        Value::new("STORAGE_S3_BUCKET_NAME", args.storage_s3_bucket_name)?,
        Value::new("STORAGE_S3_REGION", args.storage_s3_region)?,
        Value::new("STORAGE_S3_APP_FOLDER", args.storage_s3_app_folder)?,
        Value::new("STORAGE_S3_ACCESS_KEY_ID", args.storage_s3_access_key_id)?,
        Value::new("STORAGE_S3_SECRET_ACCESS_KEY", args.storage_s3_secret_access_key)?,
    ];
    match Value::new("STORAGE_TYPE", args.storage_type)?.or("local").as_str() {
        "local" => match settings.iter().find(|value| value.is_set()) {
            Some(value) => Err(contradiction(value, "it means nothing without STORAGE_TYPE=s3")),
            None => Ok(StoreConfig::Local {
                root: root.to_path_buf(),
                shared: shared.switch()?.unwrap_or(false),
            }),
        },
        "s3" if shared.is_set() => Err(contradiction(&shared, "a bucket can always be shared")),
        "s3" => Ok(StoreConfig::S3(bucket(settings, element_id)?)),
        other => Err(Value::invalid("STORAGE_TYPE", other, "use local or s3")),
    }
}

fn contradiction(value: &Value, why: &'static str) -> ConfigError {
    ConfigError::Contradiction {
        variable: value.variable,
        other: "STORAGE_TYPE",
        why,
    }
}

fn bucket(settings: [Value; 6], element_id: &str) -> Result<S3Config, ConfigError> {
    let [endpoint, bucket, region, folder, access_key_id, secret_access_key] = settings;
    let required = |value: Value| {
        let variable = value.variable;
        value.text().ok_or(ConfigError::Missing {
            variable,
            why: "STORAGE_TYPE is s3",
        })
    };
    let bucket = Value::new("STORAGE_S3_BUCKET_NAME", Some(required(bucket)?))?.read(|name| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        if name.len() > MAX_BUCKET || !name.chars().all(plain) {
            return Err("use a bucket's name alone, such as artstore");
        }
        Ok(name.to_owned())
    })?;
    let folder = folder.read(|path| {
        let path = path.trim_end_matches('/');
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
        if path.len() > MAX_FOLDER || !path.split('/').all(plain) {
            return Err("use a path such as elements/01, without a / in front");
        }
        Ok(path.to_owned())
    })?;
    let name = element_id
        .to_ascii_lowercase()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    Ok(S3Config {
        endpoint: endpoint.read(server)?,
        bucket: bucket.unwrap_or_default(),
        region: region.or(DEFAULT_REGION),
        folder: folder.unwrap_or_else(|| format!("storage_elem_{name}")),
        access_key_id: SecretString::from(required(access_key_id)?),
        secret_access_key: SecretString::from(required(secret_access_key)?),
    })
}

/// A server's address, without a path: buckets are told apart by the path.
fn server(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host)
            if !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || "/@?#".contains(letter)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("use a URL such as https://s3.example.com:9000, without a path"),
    }
}
