CREATE TABLE {prefix}file_metadata (
    file_id UUID CONSTRAINT {prefix}fm_pkey PRIMARY KEY,
    schema_version TEXT NOT NULL,
    original_filename TEXT COLLATE "C" NOT NULL,
    storage_filename TEXT NOT NULL,
    storage_path TEXT NOT NULL,
    file_size BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    checksum TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    created_by_id TEXT NOT NULL,
    created_by_username TEXT NOT NULL,
    created_by_fullname TEXT,
    description TEXT,
    version TEXT,
    tags JSONB NOT NULL,
    metadata JSON NOT NULL,
    retention_policy TEXT NOT NULL,
    ttl_days INTEGER,
    expires_at TIMESTAMPTZ,
    revision BIGINT NOT NULL,
    metadata_text JSONB NOT NULL,
    search_text TEXT NOT NULL
);
CREATE INDEX {prefix}fm_created_idx ON {prefix}file_metadata (created_at, file_id);
CREATE INDEX {prefix}fm_size_idx ON {prefix}file_metadata (file_size, file_id);
CREATE INDEX {prefix}fm_name_idx ON {prefix}file_metadata (original_filename, file_id);
CREATE INDEX {prefix}fm_user_idx ON {prefix}file_metadata (created_by_username, created_at);
CREATE INDEX {prefix}fm_expires_idx ON {prefix}file_metadata (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX {prefix}fm_tags_idx ON {prefix}file_metadata USING GIN (tags jsonb_path_ops);
CREATE INDEX {prefix}fm_meta_idx ON {prefix}file_metadata USING GIN (metadata_text jsonb_path_ops);
CREATE INDEX {prefix}fm_text_idx ON {prefix}file_metadata USING GIN (array_to_tsvector(string_to_array(search_text, ' ')));
