"""The only package that talks to Kafka's client library."""
