CREATE TABLE {prefix}instance (
    instance_id TEXT NOT NULL UNIQUE,
    started_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
);
CREATE TABLE {prefix}lease (
    name TEXT NOT NULL UNIQUE,
    instance_id TEXT NOT NULL
);
