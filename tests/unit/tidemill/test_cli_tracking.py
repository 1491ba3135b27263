import pytest
from typer.testing import CliRunner

from tidemill.cli import app
from tidemill.schemas.errors import StreamError


def test_the_command_that_shows_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    said = CliRunner().invoke(app, ["mlflow", "--print", "--port", "5001"])
    assert said.exit_code == 0
    assert f"--backend-store-uri sqlite:///{tmp_path}/mlflow/mlflow.db --host 127.0.0.1 --port 5001" in said.stdout
    with pytest.raises(StreamError, match="no runs yet"):
        CliRunner().invoke(app, ["mlflow"], catch_exceptions=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    with pytest.raises(StreamError, match="at its own address"):
        CliRunner().invoke(app, ["mlflow"], catch_exceptions=False)
