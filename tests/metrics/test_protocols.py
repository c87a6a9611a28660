from typing import get_args

from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.stages.evaluate import EvaluateSettings


def test_every_protocol_is_a_setting():
    choices = get_args(EvaluateSettings.model_fields["protocol"].annotation)
    assert set(choices) == set(PROTOCOLS)
    assert EvaluateSettings().protocol == "laptop"


def test_published_protocols_neither_antialias_nor_forgive_ties():
    for protocol in PROTOCOLS.values():
        published = protocol.retrieval == "published"
        assert published == (not protocol.antialias and protocol.tie == 0)
