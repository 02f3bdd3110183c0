"""Read and rescale recovery stores, and read the recorded topics."""
