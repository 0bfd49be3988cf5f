DROP TABLE {prefix}file_metadata;
