#![no_main]
artstore_element_fuzz::target!(content_type);
