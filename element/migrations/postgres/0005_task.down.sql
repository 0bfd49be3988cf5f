DROP TABLE {prefix}task;
