//! Error codes and the problem document every failed call answers with (RFC 9457).

use serde::{Deserialize, Serialize};

/// Why a call failed, in one stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The request is malformed.
    ValidationError,
    /// No valid token.
    Unauthorized,
    /// The token's role may not do this.
    Forbidden,
    /// No such file, task or path.
    NotFound,
    /// The path does not take the method.
    MethodNotAllowed,
    /// The element's mode does not allow the operation.
    ModeNotAllowed,
    /// The mode is ruled by the mounted file.
    ModeManaged,
    /// The mode can never become the one asked for.
    InvalidTransition,
    /// The mode change wants `confirm`.
    ConfirmationRequired,
    /// Another file has this id.
    FileIdDuplicate,
    /// A task of this kind is running.
    TaskRunning,
    /// If-Match does not hold.
    PreconditionFailed,
    /// The content passes the size limit.
    FileTooLarge,
    /// The range lies outside the file.
    InvalidRange,
    /// The content does not have the checksum the client gave.
    ChecksumMismatch,
    /// No room.
    StorageFull,
    /// A part is away; try again.
    Unavailable,
    /// A fault of the server.
    InternalError,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            Self::ValidationError => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::ModeNotAllowed
            | Self::ModeManaged
            | Self::InvalidTransition
            | Self::ConfirmationRequired
            | Self::FileIdDuplicate
            | Self::TaskRunning => 409,
            Self::PreconditionFailed => 412,
            Self::FileTooLarge => 413,
            Self::InvalidRange => 416,
            Self::ChecksumMismatch => 422,
            Self::InternalError => 500,
            Self::Unavailable => 503,
            Self::StorageFull => 507,
        }
    }

    /// A short human title, the same for every occurrence of the code.
    pub const fn title(self) -> &'static str {
        match self {
            Self::ValidationError => "The request is not valid",
            Self::Unauthorized => "A valid token is required",
            Self::Forbidden => "The token's role does not allow this",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "The path does not take this method",
            Self::ModeNotAllowed => "The element's mode does not allow this",
            Self::ModeManaged => "The mode is managed by the operator",
            Self::InvalidTransition => "The mode cannot change this way",
            Self::ConfirmationRequired => "The change needs confirmation",
            Self::FileIdDuplicate => "Another file has this id",
            Self::TaskRunning => "A task of this kind is running",
            Self::PreconditionFailed => "The file has changed",
            Self::FileTooLarge => "The file is too large",
            Self::InvalidRange => "The range lies outside the file",
            Self::ChecksumMismatch => "The content does not match the checksum",
            Self::StorageFull => "The storage is full",
            Self::Unavailable => "Temporarily unavailable",
            Self::InternalError => "Internal error",
        }
    }
}

/// The body of every failed call, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI for the kind of problem; `about:blank` as RFC 9457 allows, since `code` names the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The stable word for programs.
    pub code: ErrorCode,
    /// The request's id, to find it in the logs.
    pub request_id: String,
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_written_as_in_the_contract() {
        for (code, text, status) in [
            (ErrorCode::ValidationError, "VALIDATION_ERROR", 400),
            (ErrorCode::Unauthorized, "UNAUTHORIZED", 401),
            (ErrorCode::MethodNotAllowed, "METHOD_NOT_ALLOWED", 405),
            (ErrorCode::FileIdDuplicate, "FILE_ID_DUPLICATE", 409),
            (ErrorCode::ChecksumMismatch, "CHECKSUM_MISMATCH", 422),
            (ErrorCode::StorageFull, "STORAGE_FULL", 507),
        ] {
            assert_eq!(serde_json::to_value(code).ok(), Some(text.into()));
            assert_eq!(code.status(), status);
        }
    }
}
