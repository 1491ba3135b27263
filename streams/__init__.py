"""How events move: tasks, commits, state and their ports to Kafka."""
