"""The contracts: Avro schemas, what they mean in columns, and the bytes on the wire."""
