CREATE TABLE {prefix}instance (
    instance_id TEXT CONSTRAINT {prefix}instance_pkey PRIMARY KEY,
    started_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE {prefix}lease (
    name TEXT CONSTRAINT {prefix}lease_pkey PRIMARY KEY,
    instance_id TEXT NOT NULL
);
