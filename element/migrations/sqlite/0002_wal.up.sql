CREATE TABLE {prefix}wal (
    transaction_id TEXT NOT NULL UNIQUE,
    operation_type TEXT NOT NULL,
    status TEXT NOT NULL,
    file_id TEXT,
    operation_data TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    error_message TEXT,
    started_at TEXT NOT NULL,
    completed_at TEXT
);
CREATE INDEX {prefix}wal_pending_idx ON {prefix}wal (started_at) WHERE status = 'pending';
CREATE INDEX {prefix}wal_done_idx ON {prefix}wal (completed_at) WHERE completed_at IS NOT NULL;
