"""`make bench`: ratios against the bare loop, measured by turns on one broker in one run."""

import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def child(script: str, *arguments: str, **environment: str) -> dict[str, float]:
    """Run a script of this folder in a process of its own; its last line of output is its result."""
    threads = {"POLARS_MAX_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(
        command, env=os.environ | threads | environment, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(count: int, rounds: int) -> None:
    import job

    from tidemill.client import Client
    from tidemill.cli.processes import prepare_cluster
    from tidemill.processors.online_inference import dump_model
    from tidemill.streams.broker import EmbeddedBroker
    from tidemill.streams.kafka.admin import apply_topics
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.publisher import Publisher
    from tidemill.streams.models import announce
    from tidemill.streams.plan import TopicSpec

    broker = EmbeddedBroker(job.HOME, port=0, jars=job.HOME.parent / "kafka" / "jars")
    results: dict[str, list[dict[str, float]]] = {"bare_three": [], "full": []}
    with broker:
        connection = Connection(broker.bootstrap_servers)
        table = job.payments(count)
        for turn in range(rounds):
            name = f"bench-{turn}-{os.getpid()}"
            os.environ["TIDEMILL_BENCH_NAME"] = name
            import importlib

            pipeline = importlib.reload(job).pipeline
            plan = pipeline.plan()
            prepare_cluster(plan, connection)
            client = Client(pipeline, broker.bootstrap_servers)
            for start in range(0, count, 10_000):
                client.send_many(table.slice(start, 10_000))
            client.flush()
            event = {
                "estimator": "Pipeline",
                "features": job.FEATURES,
                "classes": ["False", "True"],
                "training_offsets": [],
            }
            event |= {
                "trained_from": None,
                "trained_until": None,
                "training_rows": 0,
                "evaluation_rows": 0,
                "metrics": {},
            }
            announce(plan, dump_model(job.fitted()), event, datetime.now(UTC), Publisher(connection))
            copies = [f"{name}.copy{i}" for i in range(3)]
            apply_topics(connection, [TopicSpec(t, job.PARTITIONS, {}, "") for t in copies])
            for what in ("bare_three", "full") if turn % 2 else ("full", "bare_three"):
                if what == "full":
                    result = child(
                        "full.py", broker.bootstrap_servers, str(HERE / "job.py"), str(count), "exactly-once"
                    )
                else:
                    result = child("bare.py", broker.bootstrap_servers, f"{name}.events", ",".join(copies), str(count))
                result["rate"] = result["events"] / result["seconds"]
                result["cpu_us"] = result["cpu"] / result["events"] * 1e6
                print(what, {k: round(v, 2) for k, v in result.items()}, flush=True)
                results[what].append(result)
    rate = {what: statistics.median(r["rate"] for r in runs) for what, runs in results.items()}
    print("ratio", rate["full"] / rate["bare_three"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
