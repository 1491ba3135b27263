"""Libraries for models are half of what a process costs at its start: without a model it does not wait for them."""

import subprocess
import sys

HEAVY = ("sklearn", "pandas", "scipy.stats", "mlflow", "faust", "river", "optuna", "deltalake", "skops")


def test_what_only_some_processes_need_is_imported_by_these():
    told = f"import sys, tidemill, tidemill.cli; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-P", "-c", told], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
