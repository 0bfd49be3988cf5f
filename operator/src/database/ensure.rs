//! Putting a claim into place, step by step; each step can be the last one before a crash.
//!
//! 0. What a namesake's mark is on is touched only after its role took the claim's password.
//! 1. The role is made and marked in one transaction: an unmarked role is never ours.
//! 2. A new database is made under a staging name that holds the owner, gets its rights and its mark there, and is renamed:
//!    under its real name it is complete from the first moment. A staged one that a crash left is gone on with.
//! 3. An existing database gets rights and mark in one transaction.
//! 4. The role logs in with the element's password. Only what that shows to be missing is repaired, so that a settled claim
//!    costs no write.

use super::found::{self, Found, Object};
use super::mark::DatabaseMark;
use super::plan::{self, DatabaseStep, Plan, RoleStep};
use super::session::{MAINTENANCE, Session};
use super::{AdminAccess, Claim, DatabaseError, Provisioned, scram, sql};

/// See [`super::DatabaseServer::ensure`].
pub(super) async fn ensure(access: &AdminAccess, claim: &Claim) -> Result<Provisioned, DatabaseError> {
    super::check(access, claim)?;
    let mut server = Session::open(access, MAINTENANCE).await?;
    server.lock(claim).await?;
    let found = found::find(&mut server, claim).await?;
    let plan = plan::plan(claim, &found)?;
    let work = Work {
        access,
        claim,
        found: &found,
        plan: &plan,
    };
    work.prove_continuity().await?;
    work.refuse_foreign_tables().await?;
    work.settle_role(&mut server).await?;
    match plan.database {
        DatabaseStep::Create => work.create_database(&mut server).await?,
        DatabaseStep::Adopt | DatabaseStep::Join | DatabaseStep::Remark => work.take_database().await?,
        DatabaseStep::Keep => {}
    }
    work.confirm(&mut server).await?;
    server.close().await;
    Ok(Provisioned {
        created: plan.database.is_new(),
        owner: claim.owner.to_string(),
    })
}

/// What every step looks at.
struct Work<'a> {
    access: &'a AdminAccess,
    claim: &'a Claim,
    found: &'a Found,
    plan: &'a Plan,
}

/// What the element would meet if it started now.
enum Sight {
    Complete,
    PasswordRefused(DatabaseError),
    RightsMissing,
}

impl Work<'_> {
    /// Before the first write: who has the password of an earlier life is its next one.
    async fn prove_continuity(&self) -> Result<(), DatabaseError> {
        let Some(namesake) = self.plan.namesake.clone() else {
            return Ok(());
        };
        if !namesake.has_role_of(self.claim) {
            return Err(namesake.refusal(self.claim));
        }
        let database = match self.found.database {
            Some(_) => &self.claim.database,
            None => MAINTENANCE,
        };
        match Session::open_as_role(self.access, self.claim, database).await {
            Ok(session) => {
                session.close().await;
                Ok(())
            }
            // The right to connect is looked at after the password.
            Err(DatabaseError::InsufficientPrivilege { .. }) => Ok(()),
            Err(DatabaseError::Authentication { .. }) => Err(namesake.refusal(self.claim)),
            Err(error) => Err(error),
        }
    }

    /// Before the first write: tables under our prefix in a shared database are somebody's data.
    async fn refuse_foreign_tables(&self) -> Result<(), DatabaseError> {
        if self.plan.database != DatabaseStep::Join || self.claim.adopt {
            return Ok(());
        }
        let mut target = Session::open(self.access, &self.claim.database).await?;
        let foreign = found::objects(&mut target, self.claim, false).await?;
        target.close().await;
        if foreign.is_empty() {
            return Ok(());
        }
        Err(DatabaseError::Unmarked {
            database: self.claim.database.clone(),
        })
    }

    async fn settle_role(&self, server: &mut Session<'_>) -> Result<(), DatabaseError> {
        let role = &self.claim.role;
        match self.plan.role {
            RoleStep::Create => {
                let verifier = scram::verifier(&self.claim.password)?;
                server
                    .run(
                        format!("create role {role:?}"),
                        &sql::create_role(self.claim, &verifier),
                    )
                    .await
            }
            RoleStep::Adopt => {
                let verifier = scram::verifier(&self.claim.password)?;
                server
                    .run(format!("adopt role {role:?}"), &sql::adopt_role(self.claim, &verifier))
                    .await
            }
            RoleStep::Remark => {
                server
                    .run(format!("mark role {role:?}"), &sql::mark_role(self.claim))
                    .await
            }
            RoleStep::Keep => Ok(()),
        }
    }

    async fn create_database(&self, server: &mut Session<'_>) -> Result<(), DatabaseError> {
        let (database, staging) = (&self.claim.database, &self.found.staging);
        if !self.found.staged {
            server
                .run(format!("create database {database:?}"), &sql::create_database(staging))
                .await?;
        }
        self.lay(staging, &self.plan.mark, &[]).await?;
        server
            .run(
                format!("name database {database:?}"),
                &sql::rename_database(staging, database),
            )
            .await
    }

    /// Rights, mark, and under `adopt` the prefix's tables, all at once.
    async fn take_database(&self) -> Result<(), DatabaseError> {
        let mut statements = Vec::new();
        if self
            .found
            .database
            .as_ref()
            .is_some_and(|database| database.owned_by_role)
        {
            statements.push(format!(
                "ALTER DATABASE {} OWNER TO CURRENT_USER",
                sql::identifier(&self.claim.database)
            ));
        }
        if self.claim.adopt {
            let mut target = Session::open(self.access, &self.claim.database).await?;
            let foreign = found::objects(&mut target, self.claim, false).await?;
            if !foreign.is_empty() || !statements.is_empty() {
                target.join_role(self.claim, self.found.superuser).await?;
            }
            target.close().await;
            statements.extend(foreign.iter().map(|object| self.hand_over(object)));
        }
        self.lay(&self.claim.database, &self.plan.mark, &statements).await
    }

    fn hand_over(&self, Object { kind, name }: &Object) -> String {
        format!("ALTER {kind} {name} OWNER TO {}", sql::identifier(&self.claim.role))
    }

    /// One transaction inside `database`; the name differs from the claim's while it is staged.
    async fn lay(&self, database: &str, mark: &DatabaseMark, before: &[String]) -> Result<(), DatabaseError> {
        let mut statements = before.to_vec();
        statements.extend(sql::grant_rights(database, &self.claim.role));
        statements.push(sql::mark_database(database, mark));
        let mut target = Session::open(self.access, database).await?;
        let step = format!("set rights and mark of database {:?}", self.claim.database);
        target.run(step, &statements.join("; ")).await?;
        target.close().await;
        Ok(())
    }

    /// Looks through the element's eyes and repairs what is missing, each thing once.
    async fn confirm(&self, server: &mut Session<'_>) -> Result<(), DatabaseError> {
        let (mut password_set, mut rights_laid) = (false, false);
        loop {
            match self.look().await? {
                Sight::Complete => return Ok(()),
                Sight::PasswordRefused(_) if !password_set => {
                    password_set = true;
                    let verifier = scram::verifier(&self.claim.password)?;
                    let step = format!("set the password of role {:?}", self.claim.role);
                    server.run(step, &sql::set_password(self.claim, &verifier)).await?;
                }
                Sight::PasswordRefused(error) => return Err(error),
                Sight::RightsMissing if !rights_laid => {
                    rights_laid = true;
                    self.lay(&self.claim.database, &self.plan.mark, &[]).await?;
                }
                Sight::RightsMissing => return Err(self.still_open()),
            }
        }
    }

    /// A server that trusts the network takes any password; there the one set at creation stays, unseen.
    async fn look(&self) -> Result<Sight, DatabaseError> {
        let mut element = match Session::open_as_role(self.access, self.claim, &self.claim.database).await {
            Ok(session) => session,
            Err(error @ DatabaseError::Authentication { .. }) => return Ok(Sight::PasswordRefused(error)),
            Err(DatabaseError::InsufficientPrivilege { .. }) => return Ok(Sight::RightsMissing),
            Err(error) => return Err(error),
        };
        let rows: Vec<(bool,)> = element
            .rows(
                "check the role's rights",
                "SELECT coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), false)
                    AND coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'USAGE'), false)
                    AND has_database_privilege(current_database(), 'TEMPORARY')
                    AND NOT EXISTS (SELECT FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
                                    WHERE datname = current_database() AND grantee = 0)
                    AND NOT EXISTS (SELECT FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
                                    WHERE nspname = 'public' AND grantee = 0)",
                &[],
            )
            .await?;
        element.close().await;
        Ok(if rows.iter().all(|(complete,)| *complete) {
            Sight::Complete
        } else {
            Sight::RightsMissing
        })
    }

    /// PostgreSQL only warns when a REVOKE or GRANT by a non-owner does nothing.
    fn still_open(&self) -> DatabaseError {
        DatabaseError::InsufficientPrivilege {
            step: format!(
                "give role {:?} its rights in database {:?}",
                self.claim.role, self.claim.database
            ),
            source: sqlx::Error::Configuration("the server took the statements and changed nothing".into()),
        }
    }
}
