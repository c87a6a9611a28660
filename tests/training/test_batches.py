import threading
import warnings

import pytest
import torch

from mindeye2.training.batches import epoch_rows, prefetched, to_device


def rows(step, *, n_rows=10, batch_size=4, seed=0, stream="subj01"):
    return epoch_rows(n_rows, batch_size, step, seed=seed, stream=stream)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
def test_every_row_comes_once_an_epoch(batch_size):
    n_steps = 10 * batch_size // torch.gcd(torch.tensor(10), torch.tensor(batch_size)).item()
    sampled = torch.cat([rows(s, batch_size=batch_size) for s in range(n_steps // batch_size)])
    for epoch in sampled.split(10):
        assert sorted(epoch.tolist()) == list(range(10))


def test_a_step_is_the_same_whatever_ran_before():
    last = [rows(s) for s in range(7)][-1]
    assert torch.equal(rows(6), last)
    assert len(last) == 4


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": "subj02"}], ids=["seed", "stream"])
def test_other_seeds_and_streams_are_shuffled_otherwise(other):
    first, second = (torch.cat([rows(s, **k) for s in range(5)]) for k in ({}, other))
    assert not torch.equal(first, second)


def test_each_epoch_has_an_order_of_its_own():
    first, second = (rows(s, batch_size=10) for s in (0, 1))
    assert not torch.equal(first, second)


def test_the_next_batch_is_prepared_while_a_step_is_computed():
    begun = {step: threading.Event() for step in range(3)}

    def batch_of(step):
        begun[step].set()
        return step, threading.current_thread().name

    with prefetched(batch_of, range(3)) as take:
        for step in range(3):
            number, thread = take(step)
            assert number == step
            assert thread.startswith("batches")
            if step < 2:
                assert begun[step + 1].wait(10)  # before it is asked for


def test_no_batch_is_prepared_beyond_the_next():
    prepared = []
    with prefetched(lambda s: prepared.append(s) or s, range(4, 9)) as take:
        assert [take(4), take(5)] == [4, 5]
    assert prepared in ([4, 5], [4, 5, 6])


def test_a_batch_out_of_order_is_the_same_batch():
    with prefetched(lambda step: 10 * step, range(5)) as take:
        assert [take(s) for s in (3, 0, 0, 4, 1)] == [30, 0, 0, 40, 10]


def test_an_error_is_raised_by_its_own_step_and_the_thread_ends():
    def batch_of(step):
        if step == 1:
            raise OSError("the disk is gone")
        return step

    with prefetched(batch_of, range(3)) as take:
        assert take(0) == 0
        with pytest.raises(OSError, match="the disk is gone"):
            take(1)
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_leaving_the_block_early_ends_the_thread():
    def interrupted():
        with prefetched(lambda step: step, range(100)) as take:
            take(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.fixture
def take_steps(monkeypatch):
    """Return a function that takes steps on clocks of their own: of the batches, of the steps."""
    clock = threading.local()
    monkeypatch.setattr(
        "mindeye2.training.batches.time.monotonic", lambda: getattr(clock, "now", 0.0)
    )

    def _take_steps(n, *, preparing, computing):
        def spend(seconds):
            clock.now = getattr(clock, "now", 0.0) + seconds

        def batch_of(_step):
            spend(preparing)
            betas = {"subj01": torch.zeros(8, 1000)}
            return {"betas": betas, "tokens": torch.zeros(8, 249_000)}

        with prefetched(batch_of, range(n)) as take:
            for step in range(n):
                take(step)
                spend(computing)

    return _take_steps


def test_batches_slower_than_the_steps_are_said_once_with_their_rate(take_steps):
    # 8 rows of 250,000 float32 are 8 MB.
    message = r"computed: 4 rows/s \(4 MB/s\) of 16 that .*Put the prepared data on a faster disk"
    with pytest.warns(UserWarning, match=message) as said:
        take_steps(60, preparing=2.0, computing=0.5)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("n", "preparing", "computing"),
    [(60, 1.0, 1.5), (19, 9.0, 1.0), (60, 0.3, 0.1)],
    ids=["faster than the steps", "a few steps", "nothing to speak of"],
)
def test_batches_that_cost_little_are_not_worth_a_word(take_steps, n, preparing, computing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take_steps(n, preparing=preparing, computing=computing)


def test_tensors_arrive_on_the_device():
    assert to_device(torch.ones(2), torch.device("meta")).is_meta
