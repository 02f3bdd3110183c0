"""Archive the topics day by day, cut them in Kafka, and restore archived days."""
