"""api:URL#model, against a small server on this machine."""

import json
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders import api, embed_items, make_encoder
from iadsr_cli.encoders.api import TRIES, ApiEncoder, endpoint_of
from iadsr_cli.errors import EncoderError, UsageError

Answer = tuple[int, dict[str, str], Any]
KEY = "sk-very-secret"


def vector(text: str) -> list[float]:
    return [float(len(text)), float(text.count("a")), 1.0]


def good(body: dict[str, Any]) -> Answer:
    size = body.get("dimensions")
    data = [{"index": place, "embedding": vector(text)[:size]} for place, text in enumerate(body["input"])]
    return 200, {}, {"data": data[::-1]}  # in an order of its own


class Server:
    """Answers with `script`, one entry per request, then with `good`; keeps the requests."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.script: list[Callable[[dict[str, Any]], Answer]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append({**body, "path": self.path})
                server.keys.append(self.headers.get("Authorization"))
                status, headers, content = (server.script.pop(0) if server.script else good)(body)
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status, server.reason)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def says(status: int, content: Any = "", **headers: str) -> Callable[[dict[str, Any]], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda body: (status, named, content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def encoder(server: Server, waits: list[float]) -> ApiEncoder:
    return ApiEncoder(endpoint_of(server.url), "m", KEY, EncoderSettings(), sleep=waits.append)


def unit(texts: list[str], size: int | None = None) -> np.ndarray:
    rows = np.array([vector(text)[:size] for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_are_put_in_the_order_of_the_texts(server: Server, encoder: ApiEncoder, recorder: Any) -> None:
    rows = encoder.encode(["a", "bb", "aab"], recorder)
    assert rows.dtype == np.float32
    assert np.allclose(rows, unit(["a", "bb", "aab"]))
    assert server.bodies == [
        {"model": "m", "input": ["a", "bb", "aab"], "encoding_format": "float", "path": "/v1/embeddings"}
    ]
    assert server.keys == [f"Bearer {KEY}"]


def test_prompt_dimension_and_batches(server: Server, recorder: Any) -> None:
    settings = EncoderSettings(encoder_prompt="p: ", encoder_dimension=2, encoder_batch_size=2)
    rows = ApiEncoder(endpoint_of(server.url), "m", None, settings).encode(["a", "bb", "c"], recorder)
    assert [body["input"] for body in server.bodies] == [["p: a", "p: bb"], ["p: c"]]
    assert {body["dimensions"] for body in server.bodies} == {2}
    assert server.keys == [None, None]
    assert np.allclose(rows, unit(["p: a", "p: bb", "p: c"], 2))


def test_an_answer_without_indices_is_in_order(server: Server, encoder: ApiEncoder, recorder: Any) -> None:
    server.script = [lambda body: (200, {}, {"data": [{"embedding": vector(text)} for text in body["input"]]})]
    assert np.allclose(encoder.encode(["a", "bb"], recorder), unit(["a", "bb"]))


def test_waits_as_long_as_the_server_asks(
    server: Server, encoder: ApiEncoder, waits: list[float], recorder: Any
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.script = [
        says(429, Retry_After="7"),
        says(503, Retry_After=later),
        says(429, Retry_After="99999"),
        says(429, Retry_After="soon"),
    ]
    assert np.allclose(encoder.encode(["a"], recorder), unit(["a"]))
    assert waits[0] == 7
    assert 25 < waits[1] <= 30
    assert waits[2:] == [api.LONGEST_WAIT, 8]
    assert "429 Too Many Requests; trying again in 7 s" in recorder.details


def test_500_then_success(server: Server, encoder: ApiEncoder, waits: list[float], recorder: Any) -> None:
    server.script = [says(500), says(502)]
    assert np.allclose(encoder.encode(["a"], recorder), unit(["a"]))
    assert waits == [1, 2]


def test_gives_up_in_the_end(server: Server, encoder: ApiEncoder, waits: list[float], recorder: Any) -> None:
    server.script = [says(500)] * 99
    with pytest.raises(EncoderError, match=f"did not answer in {TRIES} tries; the last: 500 Internal") as caught:
        encoder.encode(["a"], recorder)
    assert len(server.bodies) == TRIES
    assert waits == [1, 2, 4, 8, 16]
    assert caught.value.hint == api.AGAIN


def test_where_nobody_listens_the_address_is_to_be_checked(waits: list[float], recorder: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened at
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/embeddings"
        encoder = ApiEncoder(endpoint, "m", None, EncoderSettings(), waits.append)
        with pytest.raises(EncoderError, match="did not answer in 6 tries; the last: ConnectError") as caught:
            encoder.encode(["a"], recorder)
    assert caught.value.hint.startswith("Check the host and the port in --encoder api:URL#model")
    assert caught.value.hint.endswith(api.AGAIN)


def test_an_answer_that_is_not_packed_as_it_says_is_asked_for_again(
    server: Server, encoder: ApiEncoder, waits: list[float], recorder: Any
) -> None:
    server.script = [says(200, "not packed", Content_Encoding="gzip")]
    assert np.allclose(encoder.encode(["a"], recorder), unit(["a"]))
    assert waits == [1]
    assert recorder.details[0].startswith("DecodingError")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_endless_answer_is_not_read_to_its_end(
    server: Server, encoder: ApiEncoder, recorder: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(api, "LONGEST_ANSWER", 1000)
    monkeypatch.setattr(api, "LONGEST_OF_A_TEXT", 100)
    server.script = [says(status, " " * 1201)]
    with pytest.raises(EncoderError, match=r"compatible embeddings endpoint \(more than 1,200 bytes\)"):
        encoder.encode(["a", "b"], recorder)


def test_nobody_there(waits: list[float], recorder: Any) -> None:
    encoder = ApiEncoder("http://127.0.0.1:9/v1/embeddings", "m", None, EncoderSettings(), sleep=waits.append)
    with pytest.raises(EncoderError, match="ConnectError"):
        encoder.encode(["a"], recorder)
    assert len(waits) == TRIES - 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"refuses the key that was sent \(401\)"),
        (403, r"refuses the key that was sent \(403\)"),
        (404, r'no model "m" \(404\)'),
        (400, r"refuses the request \(400\): bad \*\*\* here"),
        (301, r"refuses the request \(301\)"),
    ],
)
def test_refusals_are_not_tried_again_and_do_not_show_the_key(
    server: Server, waits: list[float], recorder: Any, status: int, message: str
) -> None:
    encoder = ApiEncoder(endpoint_of(server.url), "m", KEY, EncoderSettings(), sleep=waits.append)
    server.script = [says(status, f"bad {KEY} here")]
    with pytest.raises(EncoderError, match=message) as caught:
        encoder.encode(["a"], recorder)
    assert KEY not in str(caught.value)
    assert waits == []
    assert len(server.bodies) == 1


@pytest.mark.parametrize("key", [KEY, "sk-\\'quoted\"", "sk-12"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_key_is_not_shown_whatever_a_server_echoes(server: Server, recorder: Any, status: int, key: str) -> None:
    header = f"Bearer {key}"
    server.reason = f"No {header}"
    server.script = [says(status, {"data": [{"embedding": [header] * 3}], header: header})] * TRIES
    encoder = ApiEncoder(endpoint_of(server.url), "m", key, EncoderSettings(), sleep=lambda _: None)
    with pytest.raises(EncoderError, match=r"Bearer \*\*\*") as caught:
        encoder.encode(["a"], recorder)
    shown = "".join([*traceback.format_exception(caught.value), *recorder.details])
    assert not any(spelling in shown for spelling in (key, repr(key)[1:-1], json.dumps(key)[1:-1]))


def test_no_key_is_said(server: Server, recorder: Any) -> None:
    server.script = [says(401)]
    with pytest.raises(EncoderError, match="a request without a key") as caught:
        ApiEncoder(endpoint_of(server.url), "m", None, EncoderSettings()).encode(["a"], recorder)
    assert "OPENAI_API_KEY" in caught.value.hint


ONE = {"index": 0, "embedding": [1.0, 2.0]}


def both(second: list[float]) -> dict[str, Any]:
    return {"data": [ONE, {"index": 1, "embedding": second}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", "did not answer as an OpenAI-compatible"),
        ([], "did not answer as an OpenAI-compatible"),
        ({"data": None}, "did not answer as an OpenAI-compatible"),
        ({"data": ["x", "y"]}, "did not answer as an OpenAI-compatible"),
        ({"data": [ONE, {"index": 1}]}, "did not answer as an OpenAI-compatible"),
        ({"data": [ONE, {"index": 1, "embedding": "AACAPw=="}]}, "did not answer as an OpenAI-compatible"),
        ({"data": [ONE, {"index": 1, "embedding": [1.0]}]}, "did not answer as an OpenAI-compatible"),
        ({"data": [ONE, {"index": 1, "embedding": [None, 1.0]}]}, "NaN"),
        ({"data": [ONE, {"index": 1, "embedding": [10**400, 1.0]}]}, "compatible .* .OverflowError: int too large"),
        ({"data": [ONE, {"index": float("inf"), "embedding": [1.0, 2.0]}]}, "did not answer as an OpenAI-compatible"),
        ('{"data": %s}' % ("[" * 100_000 + "]" * 100_000), "did not answer as an OpenAI-compatible"),
        (both([0.0, 0.0]), r'for text 2 of the 2 in a request \("b"\) a vector that is all zeros.*; 1 like it'),
        (both([1e-200, 0.0]), "text 2 of .* is all zeros"),
        (both([-1e-42, 0.0]), "text 2 of .* is all zeros"),
        (both([1e200, 1.0]), "text 2 of .* is not a number"),
        ({"data": [{"embedding": []}, {"embedding": []}]}, "gave for 2 texts vectors of no numbers"),
        ({"data": [ONE]}, "gave 1 vectors .* for 2 texts"),
        ({"data": [ONE, ONE]}, "gave 2 vectors .indices 0 to 0. for 2 texts"),
        ({"data": []}, "gave 0 vectors .indices none. for 2 texts"),
    ],
)
def test_malformed_answers(server: Server, encoder: ApiEncoder, recorder: Any, content: Any, message: str) -> None:
    server.script = [says(200, content)]
    with pytest.raises(EncoderError, match=message):
        encoder.encode(["a", "b"], recorder)


def test_a_failure_in_the_middle_loses_nothing(server: Server, tmp_path: Path, recorder: Any) -> None:
    settings = EncoderSettings(encoder=f"api:{server.url}#m", encoder_batch_size=2)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]

    def run() -> np.ndarray:
        return embed_items(texts, texts, settings, device="cpu", cache_dir=tmp_path, reporter=recorder).vectors

    server.script = [good, says(401)]
    with pytest.raises(EncoderError):
        run()
    server.bodies.clear()
    assert np.allclose(run(), unit(texts))
    assert [body["input"] for body in server.bodies] == [["ccc", "dddd"], ["eeeee"]]
    assert recorder.notes == ["2 of 5 texts were in the cache."]


def test_the_key_comes_from_a_file_or_the_environment_and_stays_out_of_the_identity(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorder: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    spec = f"api:{server.url}#m"
    by_file = make_encoder(EncoderSettings(encoder=spec, api_key_file=str(file)), "cpu")
    by_environment = make_encoder(EncoderSettings(encoder=spec), "cpu")
    assert isinstance(by_file, ApiEncoder) and isinstance(by_environment, ApiEncoder)
    by_file.encode(["a"], recorder)
    by_environment.encode(["a"], recorder)
    assert server.keys == [f"Bearer {KEY}", "Bearer from-environment"]
    assert by_file.identity == by_environment.identity
    assert KEY not in json.dumps(by_file.identity)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("two words", "holds a blank"),
        ("schlüssel", "holds a blank"),
    ],
)
def test_key_files_that_cannot_be_used(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(EncoderError, match=message) as caught:
        make_encoder(EncoderSettings(encoder="api:http://localhost#m", api_key_file=str(file)), "cpu")
    assert not content or content not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://h:1", "http://h:1/v1/embeddings"),
        ("http://h:1/", "http://h:1/v1/embeddings"),
        ("https://h/v1", "https://h/v1/embeddings"),
        ("https://h/openai/v1/", "https://h/openai/v1/embeddings"),
        ("https://h/v1/embeddings", "https://h/v1/embeddings"),
    ],
)
def test_spellings_of_the_address(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint


@pytest.mark.parametrize(
    "rest",
    ["localhost#m", "ftp://h#m", "http://h", "http://h#", "http://#m"]
    + [f"http://{host}#m" for host in ("localhost:abc", "h:99999", "h:-1", "a..b", "xn--", "[v1.a]", "h\x01")],
)
def test_addresses_that_are_none(rest: str) -> None:
    with pytest.raises(UsageError, match="--encoder cannot be"):
        make_encoder(EncoderSettings(encoder=f"api:{rest}"), "cpu")


@pytest.mark.parametrize("rest", ["http://[::1#m", "http://ho\u2100st#m", "http://me:hunter2@[::1?key=hunter2@x#m"])
def test_malformed_hosts(rest: str) -> None:
    with pytest.raises(UsageError, match=r"^http://\S+ is no address") as caught:
        make_encoder(EncoderSettings(encoder=f"api:{rest}"), "cpu")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1]:80", "http://127.0.0.1:11434/v1", "https://bücher.example"])
def test_addresses_of_all_kinds(url: str) -> None:
    encoder = make_encoder(EncoderSettings(encoder=f"api:{url}#m"), "cpu")
    assert encoder.identity["endpoint"] == endpoint_of(url)


@pytest.mark.parametrize("url", ["http://me:hunter2@h/v1", "http://h/v1?key=hunter2"])
def test_secrets_in_the_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="cannot hold a user, a password or a query") as caught:
        make_encoder(EncoderSettings(encoder=f"api:{url}#m"), "cpu")
    assert "hunter2" not in str(caught.value)
