import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx2
import pytest

from mindeye2.stages.reconstruct import ReconstructSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def address(untrained_run, four_images):
    """Return the address of the page that the command serves; Gradio leaves sockets open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [
        "--source",
        str(four_images),
        "--port",
        str(port),
        "--set",
        f"decoder={untrained_run}",
        "--set",
        "prior_samples=20",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mindeye2", "app", str(untrained_run), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "subj01" in process.stdout.readline()
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log


def call(address, *values):
    """Return what the button gives, as the page asks for it: ("complete" or "error", content)."""
    made = httpx2.post(f"{address}gradio_api/call/decode", json={"data": values}).json()
    found = httpx2.get(f"{address}gradio_api/call/decode/{made['event_id']}", timeout=60).text
    event, content = re.search(r"event: (complete|error)\ndata: (.*)", found).groups()
    return event, json.loads(content)


@pytest.mark.slow
def test_the_page_decodes_and_names_no_folder(address, untrained_run, four_images):
    event, (html,) = call(address, "subj01", 1, None, 2, 2, 1, 2, 0.5)
    assert event == "complete"
    assert html.count("<img") == 4 + 4  # seen, two reconstructions, low-level; retrieved
    event, refused = call(address, "subj01", 9, None, 1, 2, 1, 2, 0.5)
    assert event == "error"
    assert "the image must be 0 to 3, got 9" in json.dumps(refused)
    texts = [httpx2.get(f"{address}{path}").text for path in ("", "config", "gradio_api/info")]
    for text in [*texts, html, json.dumps(refused)]:
        assert str(untrained_run) not in text
        assert str(four_images) not in text


@pytest.mark.slow
def test_sliders_start_at_the_settings_of_the_decoder(address):
    found = httpx2.get(f"{address}config").json()["components"]
    sliders = {c["props"]["label"]: c["props"] for c in found if c["type"] == "slider"}
    assert sliders["Steps of the prior"]["value"] == ReconstructSettings().prior_steps
    samples = sliders["Samples of the prior"]
    assert samples["value"] == samples["maximum"] == 20


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_decodes_without_asking_another_machine(address, tmp_path):
    log = tmp_path / "net.json"
    browser = subprocess.Popen(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking",
            "--disable-component-update", "--remote-debugging-port=0", f"--log-net-log={log}",
            address,
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(60):
            requests = log.read_text() if log.exists() else ""
            if "gradio_api/queue/data" in requests:  # the page has its first image decoded
                break
            time.sleep(1)
    finally:
        browser.send_signal(signal.SIGTERM)
        browser.wait(60)
    requests = log.read_text()
    assert "gradio_api/queue/data" in requests
    # Requests of the page; the browser has some of its own.
    hosts = set(re.findall(r'"initiator":"http://127.*?"url":"\w+://([^/:"]+)', requests))
    assert hosts == {"127.0.0.1"}
