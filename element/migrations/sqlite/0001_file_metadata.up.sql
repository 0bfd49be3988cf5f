CREATE TABLE {prefix}file_metadata (
    file_id TEXT NOT NULL UNIQUE,
    schema_version TEXT NOT NULL,
    original_filename TEXT NOT NULL,
    storage_filename TEXT NOT NULL,
    storage_path TEXT NOT NULL,
    file_size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    checksum TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_username TEXT NOT NULL,
    created_by_fullname TEXT,
    description TEXT,
    version TEXT,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    retention_policy TEXT NOT NULL,
    ttl_days INTEGER,
    expires_at TEXT,
    revision INTEGER NOT NULL,
    metadata_text TEXT NOT NULL,
    search_text TEXT NOT NULL
);
CREATE INDEX {prefix}fm_created_idx ON {prefix}file_metadata (created_at, file_id);
CREATE INDEX {prefix}fm_size_idx ON {prefix}file_metadata (file_size, file_id);
CREATE INDEX {prefix}fm_name_idx ON {prefix}file_metadata (original_filename, file_id);
CREATE INDEX {prefix}fm_user_idx ON {prefix}file_metadata (created_by_username, created_at);
CREATE INDEX {prefix}fm_expires_idx ON {prefix}file_metadata (expires_at) WHERE expires_at IS NOT NULL;
CREATE VIRTUAL TABLE {prefix}fm_text USING fts5(
    search_text, content='{prefix}file_metadata', content_rowid='rowid', tokenize='unicode61 remove_diacritics 0'
);
CREATE TRIGGER {prefix}fm_text_insert AFTER INSERT ON {prefix}file_metadata BEGIN
    INSERT INTO {prefix}fm_text (rowid, search_text) VALUES (new.rowid, new.search_text);
END;
CREATE TRIGGER {prefix}fm_text_delete AFTER DELETE ON {prefix}file_metadata BEGIN
    INSERT INTO {prefix}fm_text ({prefix}fm_text, rowid, search_text) VALUES ('delete', old.rowid, old.search_text);
END;
CREATE TRIGGER {prefix}fm_text_update AFTER UPDATE ON {prefix}file_metadata BEGIN
    INSERT INTO {prefix}fm_text ({prefix}fm_text, rowid, search_text) VALUES ('delete', old.rowid, old.search_text);
    INSERT INTO {prefix}fm_text (rowid, search_text) VALUES (new.rowid, new.search_text);
END;
