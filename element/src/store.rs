//! The store: data files and their attr files below one folder.
//!
//! ```text
//! ROOT/YYYY/MM/DD/HH/NAME             content
//! ROOT/YYYY/MM/DD/HH/NAME.attr.json   the truth about it
//! ROOT/.artstore/tmp/ID               content of an upload in progress
//! ROOT/.artstore/tmp/ID.attr.json     attributes about to take their place
//! ROOT/.artstore/lock                 held by the one server of this folder
//! ```
//! The order in which they change is the write-ahead log's protocol (`wal`); each method here is one step of it.

mod local;
mod name;
mod spool;
mod threads;
mod walk;

pub use self::local::{LocalStore, OpenStoreError, Space};
pub use self::name::{storage_filename, storage_folder};
pub use self::spool::{Spool, Spooled};
pub use self::walk::Found;
