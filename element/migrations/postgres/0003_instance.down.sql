DROP TABLE {prefix}lease;
DROP TABLE {prefix}instance;
