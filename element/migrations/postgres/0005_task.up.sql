CREATE TABLE {prefix}task (
    task_id UUID CONSTRAINT {prefix}task_pkey PRIMARY KEY,
    instance_id TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    document JSON NOT NULL
);
