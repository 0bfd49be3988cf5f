CREATE TABLE {prefix}totals (
    name TEXT NOT NULL CONSTRAINT {prefix}totals_pkey PRIMARY KEY,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);
INSERT INTO {prefix}totals (name, files, bytes)
    SELECT 'files', count(*), CAST(coalesce(sum(file_size), 0) AS BIGINT) FROM {prefix}file_metadata;
INSERT INTO {prefix}totals (name, files, bytes) VALUES ('shadow', 0, 0);
