CREATE TABLE {prefix}totals (
    name TEXT NOT NULL UNIQUE,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
INSERT INTO {prefix}totals (name, files, bytes)
    SELECT 'files', count(*), CAST(coalesce(sum(file_size), 0) AS INTEGER) FROM {prefix}file_metadata;
INSERT INTO {prefix}totals (name, files, bytes) VALUES ('shadow', 0, 0);
