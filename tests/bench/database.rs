//! PostgreSQL, the one `cluster services` started: a database for each element, rows in bulk, and what its flushes were.

use anyhow::{Context, Result};
use postgres::config::Host;
use postgres::{Client, Config, NoTls};

use crate::process;

/// What the names of the tables of every measured element begin with.
pub(crate) const PREFIX: &str = "bench_";

/// The server.
pub(crate) struct Database {
    config: Config,
}

impl Database {
    pub(crate) fn from_environment() -> Result<Self> {
        const VARIABLE: &str = "ARTSTORE_TEST_POSTGRES";
        let url = std::env::var(VARIABLE).with_context(|| format!("{VARIABLE} is not set; run `cluster bench`"))?;
        let config = url
            .parse()
            .with_context(|| format!("{VARIABLE} is no PostgreSQL URL"))?;
        Ok(Self { config })
    }

    /// What an element is told of the server.
    pub(crate) fn environment(&self, database: &str) -> Result<Vec<(&'static str, String)>> {
        let Some(Host::Tcp(host)) = self.config.get_hosts().first() else {
            anyhow::bail!("the PostgreSQL URL has no host");
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let password = self.config.get_password().unwrap_or_default();
        Ok(vec![
            ("DB_HOST", host.clone()),
            ("DB_PORT", port.to_string()),
            ("DB_USERNAME", self.config.get_user().unwrap_or("postgres").to_owned()),
            ("DB_PASSWORD", String::from_utf8(password.to_vec())?),
            ("DB_DATABASE", database.to_owned()),
            ("DB_TABLE_PREFIX", PREFIX.to_owned()),
        ])
    }

    pub(crate) fn connect(&self, database: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config
            .dbname(database)
            .connect(NoTls)
            .with_context(|| format!("failed to connect to database {database:?}"))
    }

    fn administrator(&self) -> Result<Client> {
        self.connect("postgres")
    }

    /// Makes an empty database of this name.
    pub(crate) fn create(&self, database: &str) -> Result<()> {
        self.drop(database)?;
        self.administrator()?
            .batch_execute(&format!("CREATE DATABASE {database}"))?;
        Ok(())
    }

    pub(crate) fn drop(&self, database: &str) -> Result<()> {
        let sql = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        Ok(self.administrator()?.batch_execute(&sql)?)
    }

    /// The server's first process, the parent of all others.
    pub(crate) fn pid(&self) -> Result<u32> {
        let backend: i32 = self.administrator()?.query_one("SELECT pg_backend_pid()", &[])?.get(0);
        process::parent(u32::try_from(backend)?)
    }

    /// Whether a commit is on disk before it is answered: nothing here would mean anything otherwise.
    pub(crate) fn is_durable(&self) -> Result<bool> {
        let sql = "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') = 'on'";
        Ok(self.administrator()?.query_one(sql, &[])?.get(0))
    }

    /// How often the server has flushed its log. Processes report now and then, so it is asked until it stands still.
    pub(crate) fn flushes(&self) -> Result<i64> {
        let mut client = self.administrator()?;
        let mut last = -1;
        loop {
            let now: i64 = client.query_one("SELECT wal_sync FROM pg_stat_wal", &[])?.get(0);
            if now == last {
                return Ok(now);
            }
            last = now;
            std::thread::sleep(std::time::Duration::from_secs(3));
        }
    }
}

/// Fills an element's table with `files` rows; each file has a tag of a thousand, and a word that a hundred files share.
/// Indexes are made afterwards, which is what makes a million rows a matter of seconds.
pub(crate) fn fill(client: &mut Client, files: i64) -> Result<()> {
    let table = format!("{PREFIX}file_metadata");
    let indexes = client.query(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname NOT LIKE '%pkey'",
        &[&table],
    )?;
    for index in &indexes {
        client.batch_execute(&format!("DROP INDEX {}", index.get::<_, String>(0)))?;
    }
    let sql = format!(
        "INSERT INTO {table} (file_id, schema_version, original_filename, storage_filename, storage_path, file_size, \
         content_type, checksum, created_at, updated_at, created_by_id, created_by_username, tags, metadata, \
         retention_policy, revision, metadata_text, search_text) \
         SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '1.0', 'report-' || n || '.pdf', \
         'report-' || n || '_bench.pdf', '2026/01/01/00/report-' || n || '_bench.pdf', n % 1000000, 'application/pdf', \
         md5(n::text) || md5((-n)::text), timestamptz '2026-01-01' + n * interval '1 second', \
         timestamptz '2026-01-01' + n * interval '1 second', 'bench', 'bench', jsonb_build_array('tag' || n % 1000), \
         '{{\"project\":\"p\"}}', 'permanent', 1, '{{\"project\":\"p\"}}', \
         'report ' || n || ' pdf word' || n / 100 || ' tag' || n % 1000 \
         FROM generate_series(1, {files}::bigint) AS n"
    );
    client.batch_execute(&sql).context("failed to fill the table")?;
    for index in &indexes {
        client.batch_execute(&index.get::<_, String>(1))?;
    }
    // One by one: several statements together are a transaction, which neither may be in.
    client.batch_execute(&format!("VACUUM ANALYZE {table}"))?;
    client.batch_execute("CHECKPOINT")?;
    Ok(())
}

/// The id of the n-th file that [`fill`] made.
pub(crate) fn filled_id(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}
