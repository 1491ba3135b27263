"""What is done to events: batches in, outputs out; no Kafka, clock, file or thread."""
