"""The HTTP interface of a decoder."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from mindeye2.api import Decoder
from mindeye2.core import __version__
from mindeye2.core.collected_warnings import with_warnings
from mindeye2.data.subject_names import find_subject
from mindeye2.data.uploads import betas_from_upload, gallery_from_upload, parse_npy
from mindeye2.serve.access import Access
from mindeye2.serve.bodies import (
    JSON,
    NPY,
    PNG,
    DecodeAnswer,
    DecodeBody,
    DecodedImage,
    ErrorAnswer,
    HealthAnswer,
    RetrieveAnswer,
    RetrieveBody,
    SubjectAnswer,
    accepts_png,
    encode_npy,
    encode_png,
    media_type,
    parse_json,
    read_array,
    read_body,
)

__all__ = ["build_server"]

MAX_BYTES = 64 * 2**20
"""Largest body of a request."""

MAX_WAITING = 64
"""Requests that are computed or wait; one more is told to come back."""

MAX_IMAGES = 100
"""Images that one request decodes."""

MAX_GALLERY = 1000
"""Images of a gallery."""

_Subject = Annotated[str, Query(max_length=100, description="Subject, e.g. subj01 or sub-01.")]
_Seed = Annotated[int, Query(ge=0, lt=2**63, description="Seed of the first image.")]
_Samples = Annotated[
    int | None, Query(ge=1, le=64, description="Samples of the prior that are averaged.")
]
_K = Annotated[int, Query(ge=1, le=MAX_GALLERY, description="Images to return for each row.")]
_Tokens = Annotated[bool, Query(description="Return the sampled image tokens too.")]


class Endpoints:
    """What the server answers: one thread computes, in the order in which requests arrive."""

    def __init__(self, decoder: Decoder, *, max_bytes: int) -> None:
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")
        self._n_waiting = 0

    async def health(self) -> HealthAnswer:
        """Say that the server runs, and how many requests it has."""
        return HealthAnswer(status="ok", version=__version__, waiting=self._n_waiting)

    async def subjects(self) -> list[SubjectAnswer]:
        """List the subjects that can be decoded, and their numbers of voxels."""
        return [SubjectAnswer(name=s, voxels=n) for s, n in self._decoder.n_voxels.items()]

    async def decode(
        self,
        request: Request,
        *,
        subject: _Subject,
        seed: _Seed = 0,
        prior_samples: _Samples = None,
        tokens: _Tokens = False,
    ) -> Response:
        """Reconstruct and caption images from betas: a .npy file, or JSON.

        Answers JSON; or, for one image and `Accept: image/png`, the reconstruction.
        """
        async with self._place():
            body = await read_body(request, accepted=(JSON, NPY), max_bytes=self._max_bytes)
            kind = media_type(request)
            as_png = accepts_png(request)

            def answer() -> Response:
                array = (
                    parse_npy(body, what="betas")
                    if kind == NPY
                    else read_array(parse_json(body, DecodeBody).betas, what="betas")
                )
                betas, name = self._betas(array, subject)
                if as_png and len(betas) != 1:
                    raise ValueError(
                        f"image/png holds one image, the betas have {len(betas)}. Send one, or "
                        "accept application/json."
                    )
                run = partial(self._decoder.decode, betas, subject=name, seed=seed)
                decoded, warned = with_warnings(partial(run, prior_samples=prior_samples))
                if as_png:
                    return Response(encode_png(decoded.images[0]), media_type=PNG)
                lowlevel = decoded.lowlevel
                images = [
                    DecodedImage(
                        png=_base64(encode_png(image)),
                        lowlevel_png=None
                        if lowlevel is None
                        else _base64(encode_png(lowlevel[i])),
                        caption=None if decoded.captions is None else decoded.captions[i],
                        seed=decoded.seeds[i],
                    )
                    for i, image in enumerate(decoded.images)
                ]
                sampled = _base64(encode_npy(decoded.tokens.numpy())) if tokens else None
                return _json(
                    DecodeAnswer(subject=name, images=images, tokens_npy=sampled, warnings=warned)
                )

            return await self._compute(answer)

    async def retrieve(self, request: Request, *, subject: _Subject, k: _K = 5) -> Response:
        """Rank the images of a gallery by their similarity to what betas predict.

        Answers JSON; or, for `Accept: image/png`, a strip of the best images.
        """
        async with self._place():
            body = await read_body(request, accepted=(JSON,), max_bytes=self._max_bytes)
            as_png = accepts_png(request)

            def answer() -> Response:
                parsed = parse_json(body, RetrieveBody)
                betas, name = self._betas(read_array(parsed.betas, what="betas"), subject)
                gallery = gallery_from_upload(
                    read_array(parsed.gallery, what="gallery"), max_images=MAX_GALLERY
                )
                run = partial(self._decoder.retrieve, betas, gallery=gallery, subject=name, k=k)
                found, warned = with_warnings(run)
                strip = encode_png(np.asarray(found.show()))
                if as_png:
                    return Response(strip, media_type=PNG)
                return _json(
                    RetrieveAnswer(
                        subject=name,
                        indices=found.indices.tolist(),
                        scores=found.scores.tolist(),
                        strip_png=_base64(strip),
                        warnings=warned,
                    )
                )

            return await self._compute(answer)

    def _betas(self, array: Any, subject: str) -> tuple[Any, str]:  # noqa: ANN401 - NumPy's
        name = find_subject(subject, self._decoder.subjects)
        n_voxels = self._decoder.n_voxels[name]
        checked = betas_from_upload(array, subject=name, n_voxels=n_voxels, max_images=MAX_IMAGES)
        return checked, name

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold a place in the queue, so that waiting bodies stay bounded."""
        if self._n_waiting >= MAX_WAITING:
            raise HTTPException(
                503,
                f"{MAX_WAITING} requests are waiting. Try again later.",
                headers={"Retry-After": "5"},
            )
        self._n_waiting += 1
        try:
            yield
        finally:
            self._n_waiting -= 1

    async def _compute(self, answer: Callable[[], Response]) -> Response:
        """Answer in the thread of the model; what a request gets wrong is a 422."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._model_thread, answer)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


def build_server(decoder: Decoder, *, access: Access, max_bytes: int = MAX_BYTES) -> FastAPI:
    """Build the HTTP interface of a decoder.

    Parameters
    ----------
    decoder
        Decodes; one request at a time.
    access
        Who may ask.
    max_bytes
        Largest body of a request.

    Returns
    -------
    FastAPI
        An ASGI application, whose description is at ``/openapi.json``.
    """
    endpoints = Endpoints(decoder, max_bytes=max_bytes)
    check = access.check_host if access.token is None else access.check_token
    app = FastAPI(
        title="mindeye2",
        version=__version__,
        description="Decode fMRI betas to images, captions and retrieval.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses={n: {"model": ErrorAnswer} for n in (401 if access.token else 403, 422)},
    )
    app.add_exception_handler(StarletteHTTPException, _answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_failure)
    guarded: dict[str, Any] = {"dependencies": [Depends(check)]}
    failed: dict[int | str, dict[str, Any]] = {
        n: {"model": ErrorAnswer} for n in (400, 408, 413, 415, 503)
    }
    png: dict[int | str, dict[str, Any]] = {200: {"content": {PNG: {}}}}
    app.get("/health")(endpoints.health)
    app.get("/subjects", **guarded)(endpoints.subjects)
    app.post(
        "/decode",
        response_model=DecodeAnswer,
        responses={**failed, **png},
        openapi_extra=_accepts(DecodeBody, npy=True),
        **guarded,
    )(endpoints.decode)
    app.post(
        "/retrieve",
        response_model=RetrieveAnswer,
        responses={**failed, **png},
        openapi_extra=_accepts(RetrieveBody, npy=False),
        **guarded,
    )(endpoints.retrieve)
    return app


def _accepts(body: type[DecodeBody | RetrieveBody], *, npy: bool) -> dict[str, Any]:
    """Describe the body of a request, which the endpoint reads itself."""
    content: dict[str, Any] = {JSON: {"schema": body.model_json_schema()}}
    if npy:
        content[NPY] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _json(answer: DecodeAnswer | RetrieveAnswer) -> Response:
    return Response(answer.model_dump_json(), media_type=JSON)


async def _answer_refusal(_: Request, error: Exception) -> JSONResponse:
    known = {404: "there is no such address; /openapi.json lists all.", 405: "method not allowed."}
    assert isinstance(error, StarletteHTTPException)
    text = error.detail if isinstance(error, HTTPException) else known.get(error.status_code)
    return JSONResponse(
        {"error": text or error.detail}, status_code=error.status_code, headers=error.headers
    )


async def _answer_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()]
    return JSONResponse({"error": f"{'; '.join(wrong)}."}, status_code=422)


async def _answer_failure(_: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    # Messages of files that are missing or damaged name folders: they stay in the server's log.
    return JSONResponse(
        {"error": "the server failed; its log says why. Ask who runs it."}, status_code=500
    )
