"""What `verify` compares: books, sequences, orders and the audit chain, in tables, topics and recovery stores."""
