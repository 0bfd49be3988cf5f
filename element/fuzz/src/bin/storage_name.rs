#![no_main]
artstore_element_fuzz::target!(storage_name);
