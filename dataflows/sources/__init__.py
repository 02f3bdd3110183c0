"""What reads the outside and turns it into ticks: files and the simulator. Kafka has its own source."""
