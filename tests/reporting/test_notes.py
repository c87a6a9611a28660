from mindeye2.reporting import default_notes


def test_simulated_and_measured_responses_have_their_own_last_note():
    simulated, real = default_notes(simulated=True), default_notes(simulated=False)
    assert simulated[:-1] == real[:-1]
    assert "Simulated" in simulated[-1].title
    assert "imulated" not in "".join(n.title + n.text for n in real)


def test_borrowed_detail_is_explained_first():
    plain = default_notes(simulated=True)
    borrowed, *rest = default_notes(simulated=True, borrowed_detail=True)
    assert "reference scene" in borrowed.text
    assert tuple(rest) == plain
