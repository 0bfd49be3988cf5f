//! What can go wrong with an element, and the one table that says what each comes to.

use crate::cluster::{ClusterError, Verb};
use crate::database::DatabaseError;
use crate::verdict::{Part, Reason, Retry, Verdict};

use super::validate::Violation;

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The wish cannot be fulfilled as it is.
    #[error("failed to validate the element")]
    Invalid(Vec<Violation>),
    /// An object of a child's name is somebody else's.
    #[error("failed to make {kind} {name}: another one of that name exists")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The volume is being deleted, and a change of the pod would be the end of it.
    #[error("failed to change the pod: PersistentVolumeClaim {name} is being deleted")]
    VolumeDeleting {
        /// Name of the volume.
        name: String,
    },
    /// The API server or the way to it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database server or the way to it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// An object could not be written down.
    #[error("failed to encode an object")]
    Encode(#[from] serde_json::Error),
    /// The machine has no randomness to give.
    #[error("failed to make a password: the system gives no random bytes")]
    NoRandomness,
}

impl Error {
    /// A failure to apply an object; `known` when it was there and the operator's own.
    pub(crate) fn applying(error: ClusterError, known: bool) -> Self {
        if !known && error.code() == Some(409) {
            return Self::NameTaken {
                kind: error.write.kind,
                name: error.write.name,
            };
        }
        Self::Cluster(error)
    }

    /// What it comes to.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Invalid(violations) => invalid(violations),
            Self::NameTaken { kind, name } => Verdict {
                part: part_of(kind),
                reason: Reason::NameTaken,
                message: format!(
                    "{kind} {name} exists and is not the operator's, or was made a moment ago: should this stay, delete it, \
                     or name the element otherwise"
                ),
                retry: Retry::Backoff,
                stalled: true,
            },
            Self::VolumeDeleting { .. } => Verdict {
                part: Part::VolumeReady,
                reason: Reason::VolumeDeleting,
                message: format!("{self}, and its files go when the pod stops; {RESCUE}"),
                retry: Retry::Backoff,
                stalled: true,
            },
            Self::Cluster(error) => cluster(error),
            Self::Database(error) => database(error),
            Self::Encode(_) | Self::NoRandomness => Verdict {
                part: Part::WorkloadReady,
                reason: Reason::InvalidValue,
                message: self.to_string(),
                retry: Retry::Backoff,
                stalled: false,
            },
        }
    }
}

/// How to come out of the deletion of a volume.
pub(super) const RESCUE: &str = "back them up first, then delete the pod: a new, empty volume follows";

/// Every violation is told; the first gives the word.
fn invalid(violations: &[Violation]) -> Verdict {
    let (part, reason) = violations
        .first()
        .map_or((Part::Ready, Reason::InvalidValue), |first| (first.part, first.reason));
    let messages: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Verdict {
        part,
        reason,
        message: messages.join("; "),
        retry: Retry::OnChange,
        stalled: true,
    }
}

fn part_of(kind: &str) -> Part {
    match kind {
        "PersistentVolumeClaim" => Part::VolumeReady,
        "Secret" => Part::DatabaseReady,
        _ => Part::WorkloadReady,
    }
}

fn cluster(error: &ClusterError) -> Verdict {
    let part = part_of(&error.write.kind);
    // The API server may quote what it refuses; of a Secret nothing may be quoted.
    let said = match error.answer() {
        Some(_) if error.write.kind == "Secret" => String::new(),
        Some(status) => format!(": {}", status.message),
        None => String::new(),
    };
    let (reason, retry, stalled, advice) = match error.code() {
        None | Some(408 | 429 | 500..) => (
            Reason::ApiUnreachable,
            Retry::Backoff,
            false,
            "the operator tries again by itself",
        ),
        Some(code) if code == 404 || code == 409 || is_outdated(error) => (
            Reason::Progressing,
            Retry::Soon,
            false,
            "it changed meanwhile; the operator tries again",
        ),
        Some(401 | 403) => (
            Reason::ApiForbidden,
            Retry::Backoff,
            true,
            "see the operator's roles, the namespace's quota and its policies",
        ),
        Some(_) => (Reason::ApiRefused, Retry::Backoff, true, "set the element's spec right"),
    };
    Verdict {
        part,
        reason,
        message: format!("{error}{said}; {advice}"),
        retry,
        stalled,
    }
}

/// Whether a patch by steps met an element that is not as it was seen. The API server answers with the same code when it
/// finds fault with the element itself, but then names the fields.
fn is_outdated(error: &ClusterError) -> bool {
    let faultless = |status: &kube::core::Status| {
        let details = status.details.as_ref();
        status.code == 422 && details.is_none_or(|details| details.causes.is_empty())
    };
    error.write.verb == Verb::Patch && error.write.kind == "StorageElement" && error.answer().is_some_and(faultless)
}

fn database(error: &DatabaseError) -> Verdict {
    let (reason, stalled, advice) = match error {
        DatabaseError::Unreachable { .. } => (
            Reason::DatabaseUnreachable,
            false,
            "check host, port, sslMode and that the server runs; the operator tries again by itself",
        ),
        DatabaseError::Tls { .. } => (
            Reason::DatabaseUnreachable,
            false,
            "check sslMode and the certificates of caSecretRef against the server's",
        ),
        DatabaseError::Authentication { .. } => (
            Reason::CredentialsRefused,
            true,
            "set username and password right in the Secret of adminSecretRef",
        ),
        DatabaseError::InsufficientPrivilege { .. } => (
            Reason::PrivilegeMissing,
            true,
            "give the role of adminSecretRef CREATEROLE and CREATEDB",
        ),
        DatabaseError::OwnedByOther { .. } => (
            Reason::OwnedByOther,
            true,
            "delete this element and create it with another elementId, or another database.name and database.tablePrefix; if it is this element from before, set database.adopt: true",
        ),
        DatabaseError::Unmarked { .. } => (
            Reason::DatabaseUnmarked,
            true,
            "set database.adopt: true to take it, or use another database.name",
        ),
        DatabaseError::RoleTaken { .. } => (Reason::RoleTaken, true, "drop the role, or use another elementId"),
        DatabaseError::Invalid { .. } => (Reason::InvalidValue, true, "set it right"),
        DatabaseError::Busy { .. } => (Reason::DatabaseBusy, false, "the operator tries again by itself"),
        DatabaseError::Query { .. } => (Reason::DatabaseFailed, false, "see the operator's and the server's log"),
    };
    Verdict {
        part: Part::DatabaseReady,
        reason,
        message: format!("{error}; {advice}"),
        retry: Retry::Backoff,
        stalled,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::Error;
    use crate::cluster::{ClusterError, Verb, Write};
    use crate::database::DatabaseError;
    use crate::verdict::{Part, Reason, Retry};

    fn refused(kind: &str, code: u16) -> ClusterError {
        let write = Write {
            verb: Verb::Apply,
            kind: kind.to_owned(),
            namespace: "n".to_owned(),
            name: "a".to_owned(),
        };
        let status = kube::core::Status {
            code,
            message: "because password=hunter2".to_owned(),
            ..Default::default()
        };
        ClusterError {
            write,
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn each_answer_of_the_api_server_has_its_verdict() {
        for (kind, code, part, reason, retry, stalled) in [
            (
                "Deployment",
                500,
                Part::WorkloadReady,
                Reason::ApiUnreachable,
                Retry::Backoff,
                false,
            ),
            (
                "Deployment",
                409,
                Part::WorkloadReady,
                Reason::Progressing,
                Retry::Soon,
                false,
            ),
            (
                "Service",
                403,
                Part::WorkloadReady,
                Reason::ApiForbidden,
                Retry::Backoff,
                true,
            ),
            (
                "PersistentVolumeClaim",
                422,
                Part::VolumeReady,
                Reason::ApiRefused,
                Retry::Backoff,
                true,
            ),
        ] {
            let verdict = Error::Cluster(refused(kind, code)).verdict();
            assert_eq!(
                (verdict.part, verdict.reason, verdict.retry, verdict.stalled),
                (part, reason, retry, stalled),
                "{kind} {code}"
            );
        }
    }

    #[test]
    fn patch_of_an_element_that_changed_meanwhile_is_a_race_and_a_faulty_element_is_not() {
        let patch = |details: serde_json::Value| {
            let mut error = refused("StorageElement", 422);
            error.write.verb = Verb::Patch;
            let status =
                serde_json::json!({"code": 422, "message": "refused", "reason": "Invalid", "details": details});
            error.source = Box::new(kube::Error::Api(serde_json::from_value(status).unwrap()));
            let verdict = Error::Cluster(error).verdict();
            (verdict.reason, verdict.retry, verdict.stalled)
        };
        assert_eq!(patch(serde_json::json!({})), (Reason::Progressing, Retry::Soon, false));
        let cause = serde_json::json!({"reason": "FieldValueInvalid", "message": "no", "field": "spec.mode"});
        assert_eq!(
            patch(serde_json::json!({"name": "a", "causes": [cause]})),
            (Reason::ApiRefused, Retry::Backoff, true)
        );
    }

    #[test]
    fn what_the_api_server_says_of_a_secret_is_not_repeated() {
        let verdict = Error::Cluster(refused("Secret", 422)).verdict();
        assert!(!verdict.message.contains("hunter2"), "{}", verdict.message);
    }

    #[test]
    fn first_conflict_means_that_the_name_is_taken() {
        assert_eq!(
            Error::applying(refused("Service", 409), false).verdict().reason,
            Reason::NameTaken
        );
        assert_eq!(
            Error::applying(refused("Service", 409), true).verdict().reason,
            Reason::Progressing
        );
    }

    #[test]
    fn owner_of_a_database_is_named() {
        let error = DatabaseError::OwnedByOther {
            what: "database \"a\"".to_owned(),
            owner: "n/b".to_owned(),
        };
        let error = Error::Database(error);
        assert!(error.verdict().message.contains("n/b"));
        assert!(error.source().is_none());
    }
}
