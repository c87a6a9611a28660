import json
from typing import ClassVar

import pytest
from accelerate import tracking

from mindeye2.core.errors import MissingExtraError
from mindeye2.recipes import standard
from mindeye2.training.step_log import check_trackers, open_log

ENTRY = {"loss": 2.0, "tokens": 1.5, "lr": 0.1, "grad_norm": 3.0, "step": 0, "seconds": 0.5}


class Tracker:
    """What accelerate's trackers have."""

    requires_logging_directory = True
    made: ClassVar = []

    def __init__(self, name, *, logging_dir, purge_step):
        self.calls = [(name, logging_dir, purge_step)]
        self.made.append(self)

    def start(self):
        self.calls.append("start")

    def log(self, values, *, step):
        self.calls.append((values, step))

    def finish(self):
        self.calls.append("finish")


@pytest.fixture
def installed(monkeypatch):
    """Install a tracker in the place of TensorBoard."""
    monkeypatch.setattr(Tracker, "made", [])
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Tracker)
    return Tracker.made


@pytest.mark.parametrize("names", [None, ("tensorboard",)])
def test_a_tracker_gets_the_numbers_of_every_step(installed, tmp_path, names):
    with open_log(tmp_path, 0, trackers=names, label="prior") as log:
        log.write(ENTRY, n_rows=16)
    values = {name: value for name, value in ENTRY.items() if name != "step"}
    start = (f"{tmp_path.name} prior", tmp_path / "tensorboard", None)
    assert installed[0].calls == [start, "start", (values, 0), "finish"]
    assert json.loads((tmp_path / "steps.jsonl").read_text()) == ENTRY


def test_no_tracker_is_used_where_none_is_wanted_or_installed(installed, tmp_path, monkeypatch):
    with open_log(tmp_path, 0, trackers=(), label="prior") as log:
        log.write(ENTRY, n_rows=16)
    monkeypatch.setattr(tracking, "get_available_trackers", list)
    with open_log(tmp_path, 0, trackers=None, label="prior") as log:
        log.write(ENTRY, n_rows=16)
    assert not installed


@pytest.mark.usefixtures("installed")
def test_a_tracker_that_is_not_installed_is_refused():
    """Of settings within settings too."""
    settings = standard()
    given = {"trackers": ("tensorboard", "wandb")}
    prior = settings.prior.optimizer.model_copy(update=given)
    check_trackers(settings)
    settings = settings.model_copy(
        update={"prior": settings.prior.model_copy(update={"optimizer": prior})}
    )
    message = (
        r"prior\.optimizer\.trackers names 'wandb', which is not installed \(installed: "
        r"tensorboard\)\. Install it with: pip install wandb, or leave it out of prior\.optimizer"
    )
    with pytest.raises(MissingExtraError, match=message):
        check_trackers(settings)


def test_tensorboard_shows_every_step_once(tmp_path):
    """Also the steps that a resumed run takes again."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, last, loss in ((0, 4, 1.0), (2, 6, 2.0)):
        with open_log(tmp_path, first, trackers=None, label="prior") as log:
            for step in range(first, last):
                log.write({**ENTRY, "loss": loss + step, "step": step}, n_rows=16)
    folder = tmp_path / "tensorboard" / f"{tmp_path.name} prior"
    events = reading.EventAccumulator(str(folder)).Reload()
    assert {*events.Tags()["scalars"]} == {*ENTRY} - {"step"}
    losses = {event.step: event.value for event in events.Scalars("loss")}
    assert len(events.Scalars("loss")) == 6
    assert losses == {0: 1.0, 1: 2.0, 2: 4.0, 3: 5.0, 4: 6.0, 5: 7.0}


def test_lines_of_steps_that_are_taken_again_go(tmp_path):
    (tmp_path / "steps.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"st')
    with open_log(tmp_path, 2, trackers=(), label="prior"):
        pass
    assert (tmp_path / "steps.jsonl").read_text() == '{"step": 0}\n{"step": 1}\n'


def test_the_note_has_loss_terms_and_speed(tmp_path):
    with open_log(tmp_path, 0, trackers=(), label="prior") as log:
        log.write({**ENTRY, "validation_top1": 0.5}, n_rows=16)
        assert log.note() == "loss 2 (tokens 1.5), 32 samples/s"
        log.write({**ENTRY, "mfu": 0.4321}, n_rows=16)
        assert log.note() == "loss 2 (tokens 1.5), 32 samples/s, MFU 43 %"
