#![no_main]
artstore_element_fuzz::target!(key_set);
