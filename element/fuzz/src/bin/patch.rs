#![no_main]
artstore_element_fuzz::target!(patch);
