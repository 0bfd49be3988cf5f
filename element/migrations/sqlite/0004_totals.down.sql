DROP TABLE {prefix}totals;
