"""Create, verify, select and remove checkpoints: the states of all services after one time slice."""
