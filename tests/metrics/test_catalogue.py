import torch

from mindeye2.metrics import top_k_hits, two_way_identification
from mindeye2.metrics.catalogue import METRICS

N = 300


def test_chance_levels_are_what_random_scores_reach(rng):
    similarity = torch.rand(N, N, generator=rng)
    preds, targets = torch.randn(2, N, 20, generator=rng)
    reached = {
        "image_top1": top_k_hits(similarity, k=1),
        "image_top5": top_k_hits(similarity, k=5),
        "brain_top1": top_k_hits(similarity.T, k=1),
        "two_way_tokens": two_way_identification(preds, targets),
        "two_way_unclip": two_way_identification(preds, targets),
    }
    for name, scores in reached.items():
        error = max(float(scores.std()), (1 / N) ** 0.5) / N**0.5
        assert abs(float(scores.mean()) - METRICS[name].chance(N)) < 4 * error, name


def test_few_images_are_all_among_the_five_best():
    assert METRICS["image_top5"].chance(3) == 1


def test_titles_tell_metrics_apart():
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
