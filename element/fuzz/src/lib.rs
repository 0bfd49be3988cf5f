//! Fuzz targets, one a parser: each feeds one function of `artstore_element::fuzz` and starts from the seed of its name.

/// The one line of a target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        ::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ::artstore_element::fuzz::$name(bytes));
    };
}
