from mindeye2.reporting import default_notes


def test_simulated_and_real_brains_get_their_own_last_note():
    simulated, real = default_notes(simulated=True), default_notes(simulated=False)
    assert simulated[:-1] == real[:-1]
    assert "Simulated" in simulated[-1].title
    assert "imulated" not in "".join(n.title + n.text for n in real)


def test_notes_are_short():
    for note in default_notes(simulated=True) + default_notes(simulated=False):
        assert 60 < len(note.text) < 300
