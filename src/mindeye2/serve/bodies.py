"""Bodies of requests and answers."""

import asyncio
import base64
import io
from typing import Any, TypeVar

import numpy as np
from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from mindeye2.data.uploads import parse_npy

__all__ = [
    "JSON",
    "NPY",
    "PNG",
    "DecodeAnswer",
    "DecodeBody",
    "DecodedImage",
    "ErrorAnswer",
    "HealthAnswer",
    "RetrieveAnswer",
    "RetrieveBody",
    "SubjectAnswer",
    "accepts_png",
    "encode_npy",
    "encode_png",
    "media_type",
    "parse_json",
    "read_array",
    "read_body",
]

B = TypeVar("B", bound=BaseModel)

JSON = "application/json"
NPY = "application/octet-stream"
PNG = "image/png"

_SECONDS = 60
"""A body that takes longer to arrive is given up."""

_NUMBERS = "Nested lists of numbers, null where one is missing; or a .npy file in base64. "
_BETAS = Field(
    description=f"{_NUMBERS}Z-scored, (images, voxels) or (images, repeats, voxels).",
    examples=[[[0.5, -1.25, 0.75]]],
)


class DecodeBody(BaseModel):
    """Betas to decode."""

    model_config = ConfigDict(extra="forbid")

    betas: list[Any] | str = _BETAS


class RetrieveBody(BaseModel):
    """Betas, and the images to choose from."""

    model_config = ConfigDict(extra="forbid")

    betas: list[Any] | str = _BETAS
    gallery: list[Any] | str = Field(
        description=f"{_NUMBERS}(images, height, width, 3), RGB from 0 to 255."
    )


class ErrorAnswer(BaseModel):
    """What is wrong, and what is accepted."""

    error: str


class HealthAnswer(BaseModel):
    """The server runs."""

    status: str
    version: str
    waiting: int = Field(description="Requests that are computed or wait for it.")


class SubjectAnswer(BaseModel):
    """A subject that can be decoded."""

    name: str
    voxels: int


class DecodedImage(BaseModel):
    """A reconstruction."""

    png: str = Field(description="Reconstruction, PNG in base64.")
    lowlevel_png: str | None = Field(description="Low-level image, PNG in base64.")
    caption: str | None
    seed: int


class DecodeAnswer(BaseModel):
    """Reconstructions in the order of the betas."""

    subject: str
    images: list[DecodedImage]
    tokens_npy: str | None = Field(
        description="(images, tokens, features) float32, a .npy file in base64; with tokens=true."
    )
    warnings: list[str]


class RetrieveAnswer(BaseModel):
    """The most similar gallery images, best first, a row for each image of the betas."""

    subject: str
    indices: list[list[int]] = Field(description="Positions in the gallery, from 0.")
    scores: list[list[float]] = Field(description="Similarity; comparable within a row.")
    strip_png: str = Field(
        description="The best eight for the first eight rows, side by side, PNG in base64."
    )
    warnings: list[str]


def media_type(request: Request) -> str:
    """Return the content type of a request, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts_png(request: Request) -> bool:
    """Tell whether the client asks for an image instead of JSON."""
    return PNG in request.headers.get("accept", "")


async def read_body(request: Request, *, accepted: tuple[str, ...], max_bytes: int) -> bytes:
    """Read a body of an accepted type and size."""
    kind = media_type(request)
    if kind not in accepted:
        raise HTTPException(
            415,
            f"the Content-Type must be {' or '.join(accepted)}, got {kind or 'none'!r}. With "
            f"curl: -H 'Content-Type: {accepted[-1]}'.",
        )
    too_large = HTTPException(413, f"the body must have at most {max_bytes} bytes. Split it.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and len(announced) < 20 and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(408, f"the body did not arrive within {_SECONDS} s.") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the connection was closed.") from error
    return bytes(body)


def parse_json(body: bytes, kind: type[B]) -> B:
    """Parse a JSON body, or raise ValueError in words."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        fields = {name: field.description for name, field in kind.model_fields.items()}
        where = ".".join(map(str, wrong[0]["loc"])) or "body"
        raise ValueError(
            f"{ascii(where)[1:-1][:80]}: {wrong[0]['msg']}. The body must be a JSON object with "
            + "; ".join(f"{name!r}: {text}" for name, text in fields.items())
        ) from error


def read_array(value: list[Any] | str, *, what: str) -> np.ndarray:
    """Convert nested lists, or a ``.npy`` file in base64, to an array of numbers."""
    if isinstance(value, str):
        try:
            content = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise ValueError(
                f"{what} is text that is not base64. Give nested lists of numbers, or the bytes "
                "of a .npy file in base64."
            ) from error
        return parse_npy(content, what=what)
    try:
        array = np.array(value)
        if array.dtype.kind == "O" and all(
            x is None or type(x) in {int, float} for x in array.flat
        ):
            array = array.astype(np.float64)  # None becomes NaN
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{what} must be nested lists of numbers, with rows of one length."
        ) from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{what} must be nested lists of numbers, of one depth and length.")
    return array


def encode_png(image: np.ndarray) -> bytes:
    """Encode an 8-bit RGB image as PNG."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def encode_npy(array: np.ndarray) -> bytes:
    """Encode an array as the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
