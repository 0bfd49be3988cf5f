//! A PostgreSQL database of one test's own, dropped at its end.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

pub(crate) struct Database {
    url: String,
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let url = std::env::var("ARTSTORE_TEST_POSTGRES")
            .expect("ARTSTORE_TEST_POSTGRES must be the URL of a PostgreSQL superuser; `make test` sets it");
        let name = format!("element_it_{}", uuid::Uuid::new_v4().simple());
        let database = Self { url, name };
        database.execute(format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// What an element needs to use it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let credentials = self.url.split_once("://").unwrap().1.split_once('@').unwrap().0;
        let password = credentials.split_once(':').unwrap().1.to_owned();
        [
            ("DB_HOST", options.get_host().to_owned()),
            ("DB_PORT", options.get_port().to_string()),
            ("DB_USERNAME", options.get_username().to_owned()),
            ("DB_PASSWORD", password),
            ("DB_DATABASE", self.name.clone()),
        ]
    }

    pub(crate) async fn execute(&self, statement: String) {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let mut connection = options.connect().await.expect("ARTSTORE_TEST_POSTGRES answers");
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // On a thread of its own: this one may be inside a runtime, which must not be entered twice.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let options: PgConnectOptions = url.parse().unwrap();
                if let Ok(mut connection) = options.connect().await {
                    let _ = connection
                        .execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                        .await;
                }
            });
        });
        let _ = dropping.join();
    }
}
