#![no_main]
artstore_element_fuzz::target!(mode_file);
