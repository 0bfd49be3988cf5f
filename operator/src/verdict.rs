//! The words conditions and Events are told in, and what an error comes to. Pure.

/// The types of condition a status carries.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// The whole: the element serves, as its spec says.
    Ready,
    /// The operator is still bringing things about.
    Reconciling,
    /// Nothing will happen until somebody sets something right.
    Stalled,
    /// Database, role and mark are in place.
    DatabaseReady,
    /// The volume is bound.
    VolumeReady,
    /// The pod is ready.
    WorkloadReady,
    /// The element confirms the mode of the spec.
    ModeApplied,
    /// There is room for files.
    CapacityOk,
    /// `paused` is set.
    Paused,
}

impl Part {
    /// The type as status writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::DatabaseReady => "DatabaseReady",
            Self::VolumeReady => "VolumeReady",
            Self::WorkloadReady => "WorkloadReady",
            Self::ModeApplied => "ModeApplied",
            Self::CapacityOk => "CapacityOK",
            Self::Paused => "Paused",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition is as it is: a stable word.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// The reason as status, Events and metrics write it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// The element answers.
    Serving,
    /// Its parts are being made.
    Progressing,
    /// `replicas` is 0.
    Stopped,
    /// Nothing is in the way.
    Settled,
    /// It is being deleted.
    Deleting,
    /// `paused` is set.
    Paused,
    /// `paused` is not set.
    Active,
    /// Database, role and mark are in place.
    Provisioned,
    /// The database is in the volume.
    Embedded,
    /// Not looked at yet.
    Pending,
    /// The volume is bound.
    Bound,
    /// The volume waits to be bound.
    VolumePending,
    /// The volume is growing.
    VolumeResizing,
    /// The volume is gone.
    VolumeLost,
    /// The volume is being deleted; the pod holds it back.
    VolumeDeleting,
    /// The pod is ready.
    Available,
    /// The pod is starting.
    Starting,
    /// The pod did not start in time.
    DeadlineExceeded,
    /// The pod could not be made.
    PodRefused,
    /// The element confirms the mode.
    Confirmed,
    /// The element has not taken the mode up yet.
    Unconfirmed,
    /// The element refuses the mode.
    ModeRefused,
    /// The element was not asked yet or does not answer.
    Unknown,
    /// There is room.
    EnoughRoom,
    /// Little room is left.
    LittleRoom,
    /// Very little room is left.
    AlmostFull,
    /// No room is left.
    Full,
    /// The fleet named does not exist.
    FleetNotFound,
    /// No image is set anywhere.
    ImageMissing,
    /// No public key is set anywhere.
    AuthMissing,
    /// No database is set anywhere.
    DatabaseMissing,
    /// A value is not one the element can work with.
    InvalidValue,
    /// A Secret that is referred to does not exist.
    SecretNotFound,
    /// A Secret lacks a key.
    SecretKeyMissing,
    /// An object of a child's name exists and is not the operator's.
    NameTaken,
    /// The database server cannot be reached.
    DatabaseUnreachable,
    /// The database server refuses the administrator.
    CredentialsRefused,
    /// The administrator may not do what is needed.
    PrivilegeMissing,
    /// Another element owns the database, role or prefix.
    OwnedByOther,
    /// The database exists and belongs to no element.
    DatabaseUnmarked,
    /// The role exists and cannot be an element's.
    RoleTaken,
    /// The database is busy.
    DatabaseBusy,
    /// The database server refuses a statement.
    DatabaseFailed,
    /// The API server refuses what the operator sends.
    ApiRefused,
    /// The API server does not answer.
    ApiUnreachable,
    /// The operator's permissions do not suffice.
    ApiForbidden,
    /// Something holds up the deletion.
    DeletionBlocked,
    /// A child was changed or deleted, and set right.
    DriftRepaired,
    /// The mode has changed.
    ModeChanged,
    /// The element is gone, and so is what it owned.
    Removed,
    /// The element is gone; what it owned is kept.
    Retained,
    /// The finalizer was lifted; something is left behind.
    LeftBehind,
    /// Everything the fleet refers to is there.
    Resolved,
}

/// When an error is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// At once, or nearly: it was a race.
    Soon,
    /// After a growing wait.
    Backoff,
    /// When something changes; looked at from time to time all the same.
    OnChange,
}

/// What an error comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The condition it shows in, besides `Ready`.
    pub part: Part,
    /// The stable word.
    pub reason: Reason,
    /// What to do, for people; holds no secret.
    pub message: String,
    /// When it is tried again.
    pub retry: Retry,
    /// Whether it takes a person to go on.
    pub stalled: bool,
}
