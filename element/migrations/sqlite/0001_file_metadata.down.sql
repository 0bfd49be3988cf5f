DROP TABLE {prefix}fm_text;
DROP TABLE {prefix}file_metadata;
