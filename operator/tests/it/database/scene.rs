//! A test's own corner of the server: names nobody else has, what is in it, and its clearing at the end.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};

use artstore_operator::database::{AdminAccess, Claim, Owner, SslMode};
use futures::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Something of each kind an element may make, under the prefix `two_`.
pub(crate) const EVERY_KIND: &str = "
    CREATE TYPE two_status AS ENUM ('a', 'b');
    CREATE TABLE two_file_metadata (id int PRIMARY KEY, status two_status, number serial, more int GENERATED ALWAYS AS IDENTITY);
    CREATE TABLE two_wal (id int REFERENCES two_file_metadata (id));
    CREATE INDEX two_index ON two_wal (id);
    CREATE VIEW two_view AS SELECT * FROM two_wal;
    CREATE MATERIALIZED VIEW two_count AS SELECT count(*) FROM two_wal;
    CREATE SEQUENCE two_sequence;
    CREATE FUNCTION two_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER two_trigger AFTER INSERT ON two_wal FOR EACH ROW EXECUTE FUNCTION two_note();
    CREATE FUNCTION two_sum(left_side int, right_side text) RETURNS int LANGUAGE sql AS 'SELECT 1'";

/// See the module.
pub(crate) struct Scene {
    pub(crate) admin: AdminAccess,
    /// Also what every role and database of the test begins with.
    pub(crate) namespace: String,
}

/// Runs a test in a scene of its own and clears up, also when it failed.
pub(crate) async fn with_scene(body: impl AsyncFnOnce(&Scene)) {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let scene = Scene {
        admin: admin(),
        namespace: format!("t{}_{number}", std::process::id()),
    };
    scene.clear().await;
    let outcome = AssertUnwindSafe(body(&scene)).catch_unwind().await;
    scene.clear().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Access as the administrator, without a door.
pub(crate) fn admin() -> AdminAccess {
    let url = std::env::var("ARTSTORE_TEST_POSTGRES")
        .expect("set ARTSTORE_TEST_POSTGRES to a PostgreSQL superuser, as in postgres://postgres:PASSWORD@127.0.0.1:5432/postgres");
    let options: PgConnectOptions = url.parse().expect("ARTSTORE_TEST_POSTGRES is a postgres:// URL");
    let password = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@'))
        .and_then(|(user, _)| user.split_once(':'));
    AdminAccess {
        host: options.get_host().to_owned(),
        port: options.get_port(),
        username: options.get_username().to_owned(),
        password: SecretString::from(password.expect("ARTSTORE_TEST_POSTGRES holds a password").1),
        ssl_mode: SslMode::Disable,
        ca_certificate: None,
    }
}

/// Runs statements whose names the test itself made.
pub(crate) async fn run(connection: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await
        .map(drop)
}

impl Scene {
    /// What an element called `name` would ask for, in a database of its own.
    pub(crate) fn claim(&self, name: &str, prefix: &str) -> Claim {
        self.claim_in(name, prefix, name)
    }

    /// The same in the database of the element `database`.
    pub(crate) fn claim_in(&self, name: &str, prefix: &str, database: &str) -> Claim {
        Claim {
            database: format!("{}_db_{database}", self.namespace),
            role: format!("{}_{name}", self.namespace),
            table_prefix: prefix.to_owned(),
            password: SecretString::from(format!("it's the \\password of {name}")),
            owner: Owner {
                uid: format!("uid-{name}"),
                namespace: self.namespace.clone(),
                name: name.to_owned(),
            },
            adopt: false,
        }
    }

    /// A role without any rights, and access as it.
    pub(crate) async fn plain_role(&self, name: &str) -> AdminAccess {
        self.admin_role(name, "").await
    }

    /// A role with these attributes, and access as it.
    pub(crate) async fn admin_role(&self, name: &str, attributes: &str) -> AdminAccess {
        let username = format!("{}_{name}", self.namespace);
        self.sql(&format!("CREATE ROLE {username} LOGIN PASSWORD 'plain' {attributes}"))
            .await;
        AdminAccess {
            username,
            password: SecretString::from("plain"),
            ..self.admin.clone()
        }
    }

    /// A database as an earlier installation left it: two tables under the claim's prefix and one that is not, another owner.
    pub(crate) async fn existing_database(&self, claim: &Claim) {
        let before = self.plain_role("before").await.username;
        self.sql(&format!("CREATE DATABASE {} OWNER {before}", claim.database))
            .await;
        let tables = format!(
            "CREATE TABLE one_file_metadata (id serial PRIMARY KEY); CREATE TABLE one_wal (id int); CREATE TABLE other (id int);
             ALTER TABLE one_file_metadata OWNER TO {before}; ALTER TABLE other OWNER TO {before}"
        );
        self.sql_in(&claim.database, &tables).await;
    }

    /// As the element will connect; fails the test when it may not.
    pub(crate) async fn connect_claim(&self, claim: &Claim) -> PgConnection {
        let access = AdminAccess {
            username: claim.role.clone(),
            password: claim.password.clone(),
            ..self.admin.clone()
        };
        self.connect(&access, &claim.database)
            .await
            .expect("the element can connect")
    }

    pub(crate) async fn connect(&self, access: &AdminAccess, database: &str) -> Result<PgConnection, sqlx::Error> {
        PgConnectOptions::new_without_pgpass()
            .host(&access.host)
            .port(access.port)
            .username(&access.username)
            .password(access.password.expose_secret())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
    }

    pub(crate) async fn sql(&self, statements: &str) {
        self.sql_in("postgres", statements).await;
    }

    pub(crate) async fn sql_in(&self, database: &str, statements: &str) {
        let mut connection = self
            .connect(&self.admin, database)
            .await
            .expect("the administrator can connect");
        run(&mut connection, statements)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
        connection.close().await.expect("closed");
    }

    async fn texts(&self, database: &str, statement: &'static str, argument: &str) -> Vec<String> {
        let mut connection = self
            .connect(&self.admin, database)
            .await
            .expect("the administrator can connect");
        let rows = sqlx::query_scalar(statement)
            .bind(argument)
            .fetch_all(&mut connection)
            .await
            .expect("a catalog query");
        connection.close().await.expect("closed");
        rows
    }

    /// Every role and database of this test, and every staged database that belongs to one of its roles.
    pub(crate) async fn names(&self) -> Vec<String> {
        let statement = "
            SELECT 'database ' || datname FROM pg_database WHERE starts_with(datname, $1)
                OR (starts_with(datname, 'artstore_new_') AND (datacl::text LIKE '%' || $1 || '%'
                    OR shobj_description(oid, 'pg_database') LIKE '%' || $1 || '%'))
            UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY 1";
        self.texts("postgres", statement, &format!("{}_", self.namespace)).await
    }

    /// All that the catalogs say about this test's roles and databases, without anything that differs from run to run.
    pub(crate) async fn state(&self) -> String {
        let roles = "
            SELECT concat_ws(' | ', 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
                rolreplication, rolbypassrls, rolconnlimit, shobj_description(oid, 'pg_authid'),
                (SELECT array_agg(pg_get_userbyid(roleid)::text ORDER BY 1) FROM pg_auth_members WHERE member = pg_roles.oid))
            FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname";
        let databases = "
            SELECT concat_ws(' | ', 'database', datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate,
                datallowconn, datistemplate, (SELECT array_agg(acl::text ORDER BY 1) FROM unnest(datacl) AS acl),
                shobj_description(oid, 'pg_database'))
            FROM pg_database WHERE starts_with(datname, $1) ORDER BY datname";
        let inside = "
            SELECT concat_ws(' | ', $1, 'schema', nspname, pg_get_userbyid(nspowner),
                (SELECT array_agg(acl::text ORDER BY 1) FROM unnest(nspacl) AS acl))
            FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
            UNION ALL
            SELECT concat_ws(' | ', $1, relkind, relname, pg_get_userbyid(relowner), relacl)
            FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT concat_ws(' | ', $1, 'routine', proname, pg_get_userbyid(proowner)) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
            UNION ALL
            SELECT concat_ws(' | ', $1, 'type', typname, pg_get_userbyid(typowner)) FROM pg_type
            WHERE typnamespace = 'public'::regnamespace ORDER BY 1";
        let prefix = format!("{}_", self.namespace);
        let mut lines = self.texts("postgres", roles, &prefix).await;
        lines.extend(self.texts("postgres", databases, &prefix).await);
        for name in self.names().await {
            if let Some(database) = name.strip_prefix("database ") {
                lines.extend(self.texts(database, inside, database).await);
            }
        }
        lines.join("\n")
    }

    /// The transactions that last wrote the rows a settled claim must not touch.
    pub(crate) async fn row_versions(&self, claim: &Claim) -> Vec<String> {
        let statement = "
            SELECT 'role ' || xmin FROM pg_authid WHERE rolname = $1
            UNION ALL SELECT 'mark ' || xmin FROM pg_shdescription
                WHERE objoid IN (SELECT oid FROM pg_roles WHERE rolname = $1 UNION SELECT oid FROM pg_database WHERE datname = current_database())
            UNION ALL SELECT 'schema ' || xmin FROM pg_namespace WHERE nspname = 'public'
            UNION ALL SELECT 'database ' || xmin FROM pg_database WHERE datname = current_database() ORDER BY 1";
        self.texts(&claim.database, statement, &claim.role).await
    }

    /// Drops all the scene made.
    pub(crate) async fn clear(&self) {
        let names = self.names().await;
        for database in names.iter().filter_map(|name| name.strip_prefix("database ")) {
            self.sql(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
        }
        for role in names.iter().filter_map(|name| name.strip_prefix("role ")) {
            self.sql(&format!("DROP ROLE {role}")).await;
        }
    }
}
