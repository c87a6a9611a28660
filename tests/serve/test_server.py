import base64
import contextlib
import io
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import checks
from starlette.testclient import TestClient

from mindeye2.core.errors import ArtifactError
from mindeye2.serve import Access, bind, build_server

LOCAL = Access(host="127.0.0.1", token=None)
NPY = {"Content-Type": "application/octet-stream"}
S = {"subject": "subj01"}


@pytest.fixture(scope="module")
def server(served):
    return build_server(served, access=LOCAL, max_bytes=2**20)


@pytest.fixture(scope="module")
def client(server):
    with TestClient(server, "http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def betas():
    return np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def image(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_what_is_served_is_what_the_decoder_decodes(client, served, betas):
    expected = served.decode(betas, seed=3, prior_samples=1, **S)
    query = {**S, "seed": 3, "prior_samples": 1, "tokens": True}
    answers = [
        client.post("/decode", params=query, content=npy(betas), headers=NPY),
        client.post("/decode", params=query, json={"betas": betas.tolist()}),
        client.post(
            "/decode", params=query, json={"betas": base64.b64encode(npy(betas)).decode()}
        ),
    ]
    for answer in (a.json() for a in answers):
        assert [i["seed"] for i in answer["images"]] == expected.seeds
        assert [i["caption"] for i in answer["images"]] == expected.captions
        found = [image(i["png"]) for i in answer["images"]]
        np.testing.assert_array_equal(found, expected.images)
        lowlevel = [image(i["lowlevel_png"]) for i in answer["images"]]
        np.testing.assert_array_equal(lowlevel, expected.lowlevel)
        tokens = np.load(io.BytesIO(base64.b64decode(answer["tokens_npy"])))
        np.testing.assert_array_equal(tokens, expected.tokens.numpy())
        assert (answer["subject"], answer["warnings"]) == ("subj01", [])


def test_one_image_is_answered_as_png(client, served, betas):
    accept = {**NPY, "Accept": "image/png"}
    one = client.post("/decode", params=S, content=npy(betas[:1]), headers=accept)
    assert one.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(one.content)))
    np.testing.assert_array_equal(found, served.decode(betas[:1], **S).images[0])
    two = client.post("/decode", params=S, content=npy(betas), headers=accept)
    assert two.status_code == 422
    assert two.json()["error"].startswith("image/png holds one image, the betas have 2.")


def test_missing_repeats_are_null_in_json(client, served, betas):
    repeats = np.stack([betas, np.full_like(betas, np.nan)], axis=1)
    nested = [[row.tolist(), [None] * 30] for row in betas]
    answer = client.post("/decode", params=S, json={"betas": nested}).json()
    expected = served.decode(repeats, **S)
    np.testing.assert_array_equal([image(i["png"]) for i in answer["images"]], expected.images)


def test_a_gallery_is_ranked(client, served, betas):
    gallery = np.random.default_rng(1).integers(0, 256, (6, 16, 20, 3), np.uint8)
    expected = served.retrieve(betas, gallery=gallery, k=3, **S)
    for sent in (gallery.tolist(), base64.b64encode(npy(gallery)).decode()):
        body = {"betas": betas.tolist(), "gallery": sent}
        answer = client.post("/retrieve", params={"subject": "sub-01", "k": 3}, json=body).json()
        np.testing.assert_array_equal(answer["indices"], expected.indices)
        np.testing.assert_allclose(answer["scores"], expected.scores, rtol=1e-6)
        assert answer["subject"] == "subj01"
        np.testing.assert_array_equal(image(answer["strip_png"]), np.asarray(expected.show()))


def test_the_best_images_of_a_gallery_are_answered_as_png(client, served, betas):
    gallery = np.random.default_rng(1).integers(0, 256, (6, 16, 20, 3), np.uint8)
    body = {"betas": betas.tolist(), "gallery": gallery.tolist()}
    query = {**S, "k": 3}
    answer = client.post("/retrieve", params=query, json=body, headers={"Accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    expected = served.retrieve(betas, gallery=gallery, **query).show()
    found = Image.open(io.BytesIO(answer.content))
    assert found.size == (3 * 132 - 4, 2 * 132 - 4)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_subjects_and_health_are_listed_and_the_page_of_a_cdn_is_off(client):
    assert client.get("/subjects").json() == [{"name": "subj01", "voxels": 30}]
    health = client.get("/health").json()
    assert (health["status"], health["waiting"]) == ("ok", 0)
    assert set(client.get("/openapi.json").json()["paths"]) == {
        "/health", "/subjects", "/decode", "/retrieve",
    }  # fmt: skip
    assert [client.get(page).status_code for page in ("/docs", "/redoc")] == [404, 404]


def test_betas_that_are_not_z_scored_are_warned_of(client, betas):
    answer = client.post("/decode", params=S, content=npy(9 * betas + 5), headers=NPY).json()
    assert [w[:15] for w in answer["warnings"]] == ["betas have mean"]


def header_of(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD = np.zeros((1, 30), np.float32)


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "betas must be the bytes of a .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff(", 422, "betas must be the bytes of a .npy file"),
        (npy(GOOD)[:-4], 422, "which takes 120 bytes, but 116 follow the header"),
        (header_of((10**12, 30)), 422, "which takes 120000000000000 bytes, but 0 follow"),
        (header_of((-1, -30)) + bytes(120), 422, "cut off or damaged"),
        (header_of((0, 10**30)), 422, "betas has a shape that NumPy cannot hold"),
        (npy(np.array([{}], dtype=object)), 422, "betas must hold numbers, got object"),
        (npy(np.array(["x"])), 422, "betas must hold numbers, got <U1"),
        (npy(GOOD[:, :29]), 422, "betas must be (images, 30) or (images, repeats, 30)"),
        (npy(GOOD[:0]), 422, "betas must be (images, 30)"),
        (npy(np.repeat(GOOD, 101, axis=0)), 422, "at most 100 are decoded at once"),
        (npy(GOOD * np.nan), 422, "NaN"),
        (npy(GOOD + 1e30), 422, "betas reach 1e+30 in absolute value"),
        (npy(np.full((1, 30), 1e300)), 422, "betas reach inf in absolute value"),
        (bytes(2**20 + 1), 413, "the body must have at most 1048576 bytes"),
    ],
)
def test_files_that_cannot_be_decoded_are_refused_in_words(client, content, status, message):
    answer = client.post("/decode", params=S, content=content, headers=NPY)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("{}", "betas: Field required. The body must be a JSON object with 'betas': Nested"),
        ('{"betas": [], "x": 1}', "x: Extra inputs are not permitted"),
        ('{"betas": [[1, 2], [3]]}', "rows of one length"),
        ('{"betas": [["1"]]}', "nested lists of numbers, of one depth"),
        ('{"betas": [[true]]}', "nested lists of numbers, of one depth"),
        ('{"betas": [{"a": 1}]}', "nested lists of numbers, of one depth"),
        (f'{{"betas": [[1{"0" * 400}]]}}', "nested lists of numbers"),
        (f'{{"betas": {"[" * 100}{"]" * 100}}}', "nested lists of numbers"),
        ('{"betas": [[NaN]]}', "betas must be (images, 30)"),
        ('{"betas": "###"}', "betas is text that is not base64"),
        ('{"betas": "aaaa"}', "betas must be the bytes of a .npy file"),
    ],
)
def test_json_that_cannot_be_decoded_is_refused_in_words(client, body, message):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = client.post("/decode", params=S, content=body, headers=headers)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("gallery", "k", "message"),
    [
        (np.zeros((2, 16, 16), np.uint8), 1, "gallery must be (images, height, width, 3)"),
        (np.zeros((2, 4, 16, 3), np.uint8), 1, "sides of 8 to 1024 pixels, got 4 x 16"),
        (np.zeros((2, 16, 16, 3), np.int64) - 1, 1, "from 0 to 255, got int64 from -1"),
        (np.zeros((2, 16, 16, 3)), 1, "whole numbers from 0 to 255, got float64"),
        (np.zeros((1001, 8, 8, 3), np.uint8), 1, "at most 1000 are accepted"),
        (np.zeros((2, 16, 16, 3), np.uint8), 3, "k must be between 1 and the gallery's 2, got 3"),
        (np.zeros((2, 16, 16, 3), np.uint8), 0, "k: Input should be greater than or equal to 1"),
    ],
)
def test_galleries_that_cannot_be_ranked_are_refused_in_words(client, gallery, k, message):
    body = {"betas": GOOD.tolist(), "gallery": base64.b64encode(npy(gallery)).decode()}
    answer = client.post("/retrieve", params={**S, "k": k}, json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


def test_addresses_methods_types_and_subjects_are_refused_in_words(client):
    def refused(method, path, **request):
        answer = client.request(method, path, **request)
        return answer.status_code, answer.json()["error"]

    assert refused("GET", "/x")[0] == 404
    assert refused("GET", "/decode")[0] == 405
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    code, words = refused("POST", "/decode", params=S, content=b"x", headers=form)
    assert code == 415
    assert words.startswith("the Content-Type must be application/json or application/octet-str")
    unknown = refused("POST", "/decode", params={"subject": "x"}, content=b"", headers=NPY)
    assert unknown[0] == 422
    code, words = refused(
        "POST", "/decode", params={"subject": "subj02"}, content=npy(GOOD), headers=NPY
    )
    assert (code, words) == (422, "subject must be one of ['subj01'], got 'subj02'. Did you mean "
                                  "'subj01'?")  # fmt: skip
    missing = refused("POST", "/decode", content=b"", headers=NPY)
    assert missing == (422, "subject: Field required.")
    far = refused("GET", "/subjects", headers={"Host": "evil.example"})
    assert far == (403, "this server answers this machine only, as localhost.")


def test_failures_of_the_server_name_no_folder(served, betas, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ArtifactError("/secret/folder is damaged")

    monkeypatch.setattr(served, "decode", fail)
    app = build_server(served, access=LOCAL)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        answer = client.post("/decode", params=S, content=npy(betas), headers=NPY)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed; its log says why. Ask who runs it."}


def test_a_token_is_required_where_one_is_set(served, betas):
    token = "0123456789abcdef"
    app = build_server(served, access=Access(host="0.0.0.0", token=token))
    with TestClient(app, "http://decoder.example") as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {token}"}):
            refused = client.post("/decode", params=S, content=npy(betas), headers=NPY | headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer TOKEN" in refused.json()["error"]
        assert (
            client.get("/subjects", headers={"Authorization": b"Bearer \xe9"}).status_code == 401
        )
        right = {"Authorization": f"Bearer {token}"}
        assert client.get("/subjects", headers=right).status_code == 200


@contextlib.contextmanager
def running(app):
    """Run the server on a free port, in a thread."""
    with bind("127.0.0.1", 0) as listener:
        loop = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=loop.run, kwargs={"sockets": [listener]})
        thread.start()
        while not loop.started and thread.is_alive():  # bound, but not listening yet
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            loop.should_exit = True
            thread.join()


def post(url, content):
    request = urllib.request.Request(url, data=content, headers=NPY)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_fifty_clients_at_once_each_get_their_own_answer(served, server):
    betas = np.random.default_rng(2).normal(size=(50, 30)).astype(np.float32)
    decode = {"subject": "subj01", "prior_samples": 1}
    with running(server) as url, ThreadPoolExecutor(50) as clients:
        query = "/decode?subject=subj01&prior_samples=1&tokens=true"
        answers = list(clients.map(lambda row: post(url + query, npy(row[None])), betas))
    for row, answer in zip(betas, answers, strict=True):
        expected = served.decode(row[None], **decode)
        tokens = np.load(io.BytesIO(base64.b64decode(answer["tokens_npy"])))
        np.testing.assert_array_equal(tokens, expected.tokens.numpy())
        np.testing.assert_array_equal(image(answer["images"][0]["png"]), expected.images[0])


def test_the_queue_is_bounded(served, betas, monkeypatch):
    n_waiting = 5
    monkeypatch.setattr("mindeye2.serve.server.MAX_WAITING", n_waiting)
    free, inside = threading.Event(), threading.Semaphore(0)
    decode = served.decode

    def wait(*args, **kwargs):
        inside.release()
        assert free.wait(60)
        return decode(*args, **kwargs)

    monkeypatch.setattr(served, "decode", wait)
    app = build_server(served, access=LOCAL)
    with (
        TestClient(app, "http://127.0.0.1") as client,
        ThreadPoolExecutor(n_waiting) as clients,
    ):
        send = [
            clients.submit(client.post, "/decode", params=S, content=npy(betas[:1]), headers=NPY)
            for _ in range(n_waiting)
        ]
        assert inside.acquire(timeout=60)
        while client.get("/health").json()["waiting"] < n_waiting:  # answered meanwhile
            pass
        refused = client.post("/decode", params=S, content=npy(betas[:1]), headers=NPY)
        free.set()
        assert {answer.result().status_code for answer in send} == {200}
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"


@pytest.fixture(scope="module")
def api(server):
    return schemathesis.openapi.from_asgi("/openapi.json", server)


CHECKED = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.parametrize("path", ["/health", "/subjects", "/decode", "/retrieve"])
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(requests=st.data())
def test_requests_made_from_the_description_are_answered_as_described(api, path, requests):
    (operation,) = api[path].values()
    case = requests.draw(operation.as_strategy())
    case.call_and_validate(checks=CHECKED, headers={"Host": "127.0.0.1"})


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.lists(st.tuples(st.integers(0, 247), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_of_a_file_breaks_the_server(client, at):
    content = bytearray(npy(GOOD))
    for place, value in at:
        content[place] = value
    answer = client.post("/decode", params=S, content=bytes(content), headers=NPY)
    assert answer.status_code in {200, 422}
