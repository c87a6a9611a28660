import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from mindeye2.cli import app


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached by other machines, so a token is"),
        (["--token", "short"], "the token must have at least 16 letters"),
        (["--port", "0"], "the stage 'train' did not finish there"),
        (["--port", "0", "--set", "images=false"], "images=false leaves nothing to show"),
    ],
)
def test_what_cannot_be_served_is_refused_in_words(tmp_path, options, message):
    result = CliRunner().invoke(app, ["serve", str(tmp_path), *options])
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_a_run_is_served_until_sigterm(untrained_run):
    command = ["serve", str(untrained_run), "--port", "0", "--set", f"decoder={untrained_run}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mindeye2", *command, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MINDEYE2_TOKEN": "0123456789abcdef"},
    )
    try:
        assert "subj01" in process.stdout.readline()
        address = process.stdout.readline().split()[0]
        while "startup complete" not in process.stderr.readline():  # of uvicorn
            assert process.poll() is None
        request = urllib.request.Request(
            address.replace("openapi.json", "subjects"),
            headers={"Authorization": "Bearer 0123456789abcdef"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer) == [{"name": "subj01", "voxels": 30}]
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log
