"""Archive the topics day by day, delete old days from Kafka, and restore archived days."""
