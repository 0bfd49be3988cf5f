CREATE TABLE {prefix}task (
    task_id UUID CONSTRAINT {prefix}task_pkey PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    document JSON NOT NULL
);
