"""Scores of captions: against the data set's, and as published against two references."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError, MissingExtraError
from mindeye2.core.runtime import progress
from mindeye2.encoders.evaluation_weights import HUB_MODELS, find_wordnet
from mindeye2.encoders.sentences import load_clip_texts, load_sentences
from mindeye2.generation.image_captions import load_image_captioner
from mindeye2.metrics import content_word_overlap, meteor, rouge, sentence_similarity
from mindeye2.metrics.catalogue import CAPTION_SCORES
from mindeye2.stages.evaluate.decoded import Job, Scores

__all__ = ["laptop_caption_scores", "published_caption_scores"]

REFERENCE, GIT_CAPTION = "reference", "git_caption"
"""Columns of ``items.parquet`` that an import of the published evaluation files fills."""

_WORDNET = (
    "METEOR needs WordNet 3.0 (11 MB, WordNet licence): put it as corpora/wordnet into the "
    "folder of --set networks=FOLDER, run 'python -m nltk.downloader wordnet', or add --set "
    "download=true."
)

Embed = Callable[[Sequence[str]], Tensor]


def laptop_caption_scores(job: Job) -> Scores:
    """Score the words, and by an encoder the meaning, of captions against the data set's."""
    captions = job.decoded.prepared.captions
    if "caption" not in job.decoded.items or captions is None:
        return Scores()
    preds, missing = _decoded_captions(job), list[str]()
    targets = _first_captions(job, captions, missing)
    if targets is None:
        return Scores(missing=missing)
    scores = {"caption": content_word_overlap(preds, targets)}
    if job.settings.sentence_encoder is not None:
        embed = load_sentences(job.settings.sentence_encoder)
        scores["caption_meaning"] = sentence_similarity(embed(preds), embed(targets))
    return Scores(scores)


def published_caption_scores(job: Job) -> Scores:
    """Score decoded captions against reference captions and against GIT's of the seen images."""
    if "caption" not in job.decoded.items:
        return Scores(missing=["Caption scores need captions: reconstruct with captions=true."])
    decoded = _decoded_captions(job)
    missing: list[str] = []
    references = _references(job, missing)
    git = _git_captions(job, missing)
    compared: dict[str, tuple[list[str], list[str]]] = {}
    if references is not None:
        compared["coco"] = (decoded, references)
    if git is not None:
        compared["git"] = (decoded, git)
    if references is not None and git is not None:
        compared["git_coco"] = (git, references)
    scores: dict[str, Tensor] = {}
    for name in CAPTION_SCORES if compared else ():
        score = _scorer(name, job, missing)
        if score is not None:
            scores |= {f"{name}_{which}": score(*pair) for which, pair in compared.items()}
    return Scores(scores, missing)


def _references(job: Job, missing: list[str]) -> list[str] | None:
    if job.protocol.references == "published":
        found = _column(job, REFERENCE)
        if found is None:
            missing.append(
                "Captions against COCO need the published reference strings: download "
                "evals/all_captions.pt of https://huggingface.co/datasets/pscotti/mindeyev2 "
                "beside an evals/MODEL folder, 'mindeye2 import' that, and name it by --set "
                "references=IMPORTED. The data set's first captions are another protocol, "
                "mindeye2-2024-first-caption."
            )
        return found
    captions = job.decoded.prepared.captions
    if captions is None:
        missing.append(
            f"Captions against COCO need captions in {job.decoded.prepared.folder}: prepare it "
            "with COCO's."
        )
        return None
    return _first_captions(job, captions, missing)


def _decoded_captions(job: Job) -> list[str]:
    """Read the decoded captions, and refuse rows without one."""
    captions = job.decoded.items["caption"]
    if captions.isna().any():
        raise ArtifactError(
            f"{job.decoded.folder / 'items.parquet'} has no caption of {captions.isna().sum()} of "
            f"{len(captions)} images, the first in row {captions.isna().argmax()}. Reconstruct "
            "again; an empty caption is written as an empty string, and scored."
        )
    return [str(caption) for caption in captions]


def _first_captions(job: Job, captions: Sequence[str], missing: list[str]) -> list[str] | None:
    """Take the data set's caption of each image; a missing one is not a wrong one."""
    found = [captions[i] for i in job.decoded.images]
    empty = [i for i, text in zip(job.decoded.images, found, strict=True) if not text.strip()]
    if not empty:
        return found
    missing.append(
        f"Caption scores need a caption of every test image, but {job.decoded.prepared.folder} "
        f"has none of {len(empty)} of {len(found)}, e.g. of image {empty[0]}: add them to the "
        "captions that it is prepared from."
    )
    return None


def _column(job: Job, name: str) -> list[str] | None:
    """Read published captions from the scored folder or from that of ``references``."""
    folder = job.settings.references
    items = job.decoded.items
    if folder is not None:
        read_manifest(Path(folder), stage="reconstruct")
        items = pd.read_parquet(Path(folder) / "items.parquet")
    if name not in items:
        return None
    by_image = items.set_index("image")[name]
    lacking = sorted(set(job.decoded.images) - set(by_image.index))
    if lacking:
        raise ArtifactError(
            f"{folder} has no caption of {len(lacking)} of the scored images, e.g. of image "
            f"{lacking[0]}. Import the published captions with the same data set."
        )
    return [str(caption) for caption in by_image.loc[job.decoded.images]]


def _git_captions(job: Job, missing: list[str]) -> list[str] | None:
    published = _column(job, GIT_CAPTION)
    if published is not None:
        return published
    name = _hub_model("git", job, missing, what="Captions against GIT's of the seen images")
    if name is None:
        return None
    captioner = load_image_captioner(name, device=job.device)
    batches = job.decoded.batches("seen", size=job.settings.batch_size)
    return [text for batch in progress(batches, label="GIT captions") for text in captioner(batch)]


def _hub_model(key: str, job: Job, missing: list[str], *, what: str) -> str | None:
    """Find a model in the folder of networks or the hub's cache, or fetch it on request."""
    model = HUB_MODELS[key]
    try:
        found = model.find(job.settings.networks)
    except MissingExtraError as error:
        missing.append(f"{what}: {error}.")
        return None
    if found is None and job.settings.download:
        return model.fetch()
    if found is None:
        missing.append(
            f"{what} need {model.terms}: put its files as {model.name!r} into the folder of "
            "--set networks=FOLDER, or add --set download=true."
        )
    return found


def _scorer(
    name: str, job: Job, missing: list[str]
) -> Callable[[Sequence[str], Sequence[str]], Float[Tensor, " images"]] | None:
    """Return a caption score, or None and what it needs."""
    title = CAPTION_SCORES[name][0]
    try:
        if name == "meteor":
            wordnet = find_wordnet(job.settings.networks, download=job.settings.download)
            if wordnet is None:
                missing.append(_WORDNET)
                return None
            return lambda preds, targets: meteor(preds, targets, wordnet=wordnet)
        if name in ("rouge1", "rougeL"):
            rouge([], [], kind="rouge1")  # asks for its package
            return lambda preds, targets: rouge(preds, targets, kind=name)  # type: ignore[arg-type]
    except MissingExtraError as error:
        missing.append(f"{error}.")
        return None
    found = _hub_model(name, job, missing, what=f"{title} scores")
    if found is None:
        return None
    embed: Embed = load_sentences(found) if name == "sentence" else load_clip_texts(found)
    known: dict[tuple[str, ...], Tensor] = {}

    def similarity(preds: Sequence[str], targets: Sequence[str]) -> Float[Tensor, " images"]:
        for texts in (preds, targets):
            if tuple(texts) not in known:
                known[tuple(texts)] = embed(texts)
        return sentence_similarity(known[tuple(preds)], known[tuple(targets)])

    return similarity
