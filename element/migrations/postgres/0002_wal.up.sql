CREATE TABLE {prefix}wal (
    transaction_id UUID CONSTRAINT {prefix}wal_pkey PRIMARY KEY,
    operation_type TEXT NOT NULL,
    status TEXT NOT NULL,
    file_id UUID,
    operation_data JSONB NOT NULL,
    instance_id TEXT NOT NULL,
    error_message TEXT,
    started_at TIMESTAMPTZ NOT NULL,
    completed_at TIMESTAMPTZ
);
CREATE INDEX {prefix}wal_pending_idx ON {prefix}wal (started_at) WHERE status = 'pending';
CREATE INDEX {prefix}wal_done_idx ON {prefix}wal (completed_at) WHERE completed_at IS NOT NULL;
