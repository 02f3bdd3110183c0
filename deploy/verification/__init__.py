"""The checks of `verify`: books, sequences, orders and the audit chain in tables, topics and recovery stores."""
