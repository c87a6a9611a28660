import resource
import sys
import threading
import time

import numpy as np
import pytest
import torch

from mindeye2.core.runtime import (
    available_cores,
    choose_device,
    each_on_one_thread,
    generator,
    numpy_rng,
    peak_memory_gib,
    process_rng,
    progress,
)


def sample(*args):
    return torch.randn(1000, generator=generator(*args))


def test_a_stream_does_not_depend_on_earlier_streams():
    first = sample(1, "mixco", 3)
    sample(1, "prior", 9)
    torch.testing.assert_close(sample(1, "mixco", 3), first, rtol=0, atol=0)


@pytest.mark.parametrize(
    "other", [(1, "mixco", 4), (1, "prior", 3), (2, "mixco", 3), (1, "mixco")]
)
def test_streams_of_other_seeds_words_or_steps_are_uncorrelated(other):
    r = torch.corrcoef(torch.stack([sample(1, "mixco", 3), sample(*other)]))[0, 1]
    assert abs(r) < 4 / 1000**0.5


def test_a_stream_stays_the_same_in_every_process_and_version():
    """A stored value: Python's own `hash` of words differs between processes."""
    assert generator(1, "mixco", 3).initial_seed() == 6870887840658401425


def test_numpy_streams_repeat_and_differ():
    first, again, other = (numpy_rng(1, word).normal(size=9) for word in ("a", "a", "b"))
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)


@pytest.mark.gpu
def test_a_generator_is_on_the_given_device():
    assert generator(0, "noise", device="cuda").device.type == "cuda"


def test_process_rng_seeds_its_block_and_restores_the_rest():
    before = torch.random.get_rng_state()
    samples = []
    for word in ("weights", "weights", "dropout"):
        with process_rng(1, word):
            samples.append(torch.randn(4))
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.rand(1)  # random numbers outside the block have no effect inside
        before = torch.random.get_rng_state()
    torch.testing.assert_close(samples[1], samples[0], rtol=0, atol=0)
    assert not torch.equal(samples[2], samples[0])


def test_process_rng_restores_after_an_exception():
    def fail():
        with process_rng(1, "weights"):
            torch.randn(4)
            raise RuntimeError("inside")

    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_auto_is_cuda_if_available():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected


def test_a_device_without_meaning_is_refused_with_the_accepted_names():
    with pytest.raises(ValueError, match=r"--device must be 'auto', 'cpu', .*got 'gpu'"):
        choose_device("gpu")


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda:1 .* finds no CUDA device.*--device cpu"):
        choose_device("cuda:1")


def test_there_is_at_least_one_core():
    assert available_cores() >= 1


def test_peak_memory_is_in_gib():
    """The kernel counts KiB on Linux and bytes on macOS; this process has 0.05 to 64 GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_memory_gib() == pytest.approx(peak * unit / 1024**3, rel=0.01)
    assert 0.05 < peak_memory_gib() < 64


@pytest.fixture
def three_threads():
    """PyTorch computes on three threads within the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_each_item_has_one_thread_and_results_are_in_order():
    meet = threading.Barrier(3, timeout=60)  # three at once, else it breaks

    def work(item):
        meet.wait()
        return item, torch.get_num_threads(), threading.current_thread().name

    found = list(each_on_one_thread(work, range(6), device=torch.device("cpu")))
    items, n_threads, names = zip(*found, strict=True)
    assert items == tuple(range(6))
    assert set(n_threads) == {1}
    assert threading.main_thread().name not in names
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_one_thread_ends_the_others_work():
    done = []

    def work(item):
        if item == 1:
            raise ValueError("item 1 is bad")
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(ValueError, match="item 1 is bad"):
        list(each_on_one_thread(work, range(1000), device=torch.device("cpu")))
    assert len(done) < 100
    assert torch.get_num_threads() == 3


def test_progress_of_long_work_is_a_line_every_30_seconds_in_a_log(monkeypatch, capsys):
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("mindeye2.core.runtime.time.monotonic", lambda: next(clock))
    steps = progress(range(4, 400), label="training", total=400, start=4, note=lambda: "loss 0.5")
    assert [next(steps) for _ in range(6)] == [4, 5, 6, 7, 8, 9]
    assert capsys.readouterr().err == (
        "training: 6 of 400 (2 %), 2 h 11 min left, loss 0.5\n"
        "training: 8 of 400 (2 %), 2 h 10 min left, loss 0.5\n"
    )


def test_progress_without_a_total_counts(monkeypatch, capsys):
    clock = iter(range(0, 1000, 40))
    monkeypatch.setattr("mindeye2.core.runtime.time.monotonic", lambda: next(clock))
    assert list(progress(iter("ab"), label="shards")) == ["a", "b"]
    assert capsys.readouterr().err == "shards: 1\nshards: 2\n"


def test_of_several_processes_one_shows_progress(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("mindeye2.core.runtime._LINE_SECONDS", 0)
    assert list(progress("ab", label="shards")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar_with_the_note(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    assert list(progress("ab", label="letters", note=lambda: "loss 0.5")) == ["a", "b"]
    shown = capsys.readouterr().err
    assert "letters" in shown
    assert "loss 0.5" in shown


@pytest.mark.parametrize("items", [[3, 1, 2], (n for n in (3, 1, 2))], ids=["list", "generator"])
def test_short_progress_yields_each_item_in_order_and_is_silent_in_a_log(items, capsys):
    assert list(progress(items, label="tokens")) == [3, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
