//! The storage element's program; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    artstore_element::main()
}
