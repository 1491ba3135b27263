"""`tidemill demo`: a year of real flights through a real Kafka."""
