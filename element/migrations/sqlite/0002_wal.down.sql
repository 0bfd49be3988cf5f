DROP TABLE {prefix}wal;
