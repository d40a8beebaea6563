"""Any OpenAI-compatible `/v1/embeddings` endpoint: `api:URL#model`.

The URL may end at the host (`http://localhost:11434`), at the version (`https://api.openai.com/v1`) or at the
endpoint itself (`.../v1/embeddings`).
"""

import json
import math
import os
import re
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iadsr_cli.addresses import split_address
from iadsr_cli.config import EncoderSettings
from iadsr_cli.encoders.contract import unit_rows, unusable
from iadsr_cli.errors import EncoderError, UsageError
from iadsr_cli.progress import Stage

if TYPE_CHECKING:
    import httpx

TRIES = 6
LONGEST_WAIT = 120.0  # seconds
TIMEOUT = 60.0  # seconds
# Bytes; 8,192 numbers of a text, with all their digits, are 180 kB.
LONGEST_ANSWER = 64 * 2**20
LONGEST_OF_A_TEXT = 200_000
RIGHT_ADDRESS = "Check the address: it should end at the host, at /v1 or at /v1/embeddings."
REACH = (
    "Check the host and the port in --encoder api:URL#model, and that the server runs and this machine can reach it."
)
AGAIN = "Run the same command again: what was embedded so far is kept in the cache."


class ApiEncoder:
    """Embeds over HTTP, one request per batch, trying again where that can help."""

    per_text = True

    def __init__(
        self,
        endpoint: str,
        model: str,
        key: str | None,
        settings: EncoderSettings,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`key` goes into the requests' header and nowhere else; `sleep` waits that many seconds."""
        self.identity = {
            "kind": "api",
            "endpoint": endpoint,
            "model": model,
            "prompt": settings.encoder_prompt,
            "dimension": settings.encoder_dimension,
            "normalised": True,
        }
        self._endpoint = endpoint
        self._model = model
        self._key = key
        self._settings = settings
        self._sleep = sleep
        self._client: httpx.Client | None = None

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of characters of each text."""
        return [len(text) for text in texts]

    def encode(self, texts: Sequence[str], stage: Stage) -> np.ndarray:
        """Return float32 [n, S], unit rows.

        Raises:
            EncoderError: if the server refuses, does not answer after several tries, or answers something
                else.
        """
        batches = []
        for start in range(0, len(texts), self._settings.encoder_batch_size):
            batch = texts[start : start + self._settings.encoder_batch_size]
            answer = self._ask([(self._settings.encoder_prompt or "") + text for text in batch], stage)
            vectors = self._vectors(answer, len(batch))
            self._check_usable(vectors, batch)
            batches.append(unit_rows(vectors, self._settings.encoder_dimension, self._endpoint))
        return np.concatenate(batches)

    def _ask(self, texts: list[str], stage: Stage) -> bytes:
        """Return the answer to one batch; failures that may pass are tried again, ever more patiently."""
        import httpx

        body: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._settings.encoder_dimension is not None:
            body["dimensions"] = self._settings.encoder_dimension
        if self._client is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._client = httpx.Client(headers=headers, timeout=TIMEOUT)
            weakref.finalize(self, self._client.close)
        trouble, hint = "", AGAIN
        for attempt in range(TRIES):
            wait = 2.0**attempt
            try:
                with self._client.stream("POST", self._endpoint, json=body) as response:
                    content = self._read(response, LONGEST_ANSWER + LONGEST_OF_A_TEXT * len(texts))
            except (httpx.TransportError, httpx.DecodingError) as error:
                trouble = self._shown(f"{type(error).__name__} {error}")
                unreached = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError))
                hint = f"{REACH} {AGAIN}" if unreached else AGAIN
            else:
                hint = AGAIN
                if response.status_code == 200:
                    return content
                if response.status_code != 429 and response.status_code < 500:
                    raise self._refusal(response.status_code, content)
                trouble = self._shown(f"{response.status_code} {response.reason_phrase}")
                asked = _retry_after(response.headers.get("Retry-After"))
                wait = wait if asked is None else asked
            if attempt + 1 < TRIES:
                stage.describe(f"{trouble}; trying again in {wait:.0f} s")
                self._sleep(wait)
                stage.describe("")
        raise EncoderError(f"{self._endpoint} did not answer in {TRIES} tries; the last: {trouble}.", hint)

    def _read(self, response: "httpx.Response", longest: int) -> bytes:
        """Return what a response holds, if that does not fill the memory."""
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > longest:
                raise EncoderError(
                    f"{self._endpoint} did not answer as an OpenAI-compatible embeddings endpoint (more than "
                    f"{longest:,} bytes).",
                    RIGHT_ADDRESS,
                )
        return bytes(content)

    def _refusal(self, status: int, content: bytes) -> EncoderError:
        """Say what a status that trying again cannot change means."""
        if status in (401, 403):
            sent = "the key that was sent" if self._key else "a request without a key"
            return EncoderError(
                f"{self._endpoint} refuses {sent} ({status}).",
                "Give a file with a valid key with --api-key-file, or set OPENAI_API_KEY.",
            )
        if status == 404:
            return EncoderError(
                f'{self._endpoint} has no such endpoint, or no model "{self._model}" (404).',
                "Write --encoder api:URL#model with the server's address and one of its embedding models.",
            )
        return EncoderError(
            f"{self._endpoint} refuses the request ({status}): {self._shown(content.decode(errors='replace'))}",
            "Check the model's name, --encoder-dimension and --encoder-batch-size against its limits.",
        )

    def _shown(self, said: str) -> str:
        """Return what comes from the server as messages show it: in short, and without the key that it may echo."""
        # Inside of the text of another error a backslash or a quote is escaped.
        for key in {self._key, repr(self._key)[1:-1], json.dumps(self._key)[1:-1]} if self._key else ():
            said = said.replace(key, "***")
        return " ".join(said.split())[:200]

    def _vectors(self, answer: bytes, count: int) -> np.ndarray:
        """Return float32 [count, S], in the order of the texts, from an answer in whatever order."""
        try:
            data = json.loads(answer)["data"]
            # Some servers leave `index` out; then theirs is the order of the request.
            rows = {int(entry.get("index", place)): entry["embedding"] for place, entry in enumerate(data)}
            if len(data) != count or rows.keys() != set(range(count)):
                span = self._shown(_span(rows))
                raise EncoderError(
                    f"{self._endpoint} gave {len(data)} vectors (indices {span}) for {count} texts.",
                    "Try a smaller --encoder-batch-size: some servers drop what exceeds their limit.",
                )
            with np.errstate(over="ignore"):  # what overflows is refused as no number
                vectors = np.array([rows[place] for place in range(count)], dtype=np.float64).astype(np.float32)
            _, _ = vectors.shape  # ValueError unless there is a list of numbers for each text
        # An index or a value may be beyond all numbers, a list too deep.
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise EncoderError(
                f"{self._endpoint} did not answer as an OpenAI-compatible embeddings endpoint "
                f"({self._shown(f'{type(error).__name__}: {error}')}).",
                RIGHT_ADDRESS,
            ) from None  # its text may hold the key
        return vectors

    def _check_usable(self, vectors: np.ndarray, texts: Sequence[str]) -> None:
        dimension = self._settings.encoder_dimension
        if not vectors.shape[1]:
            what = f"for {len(texts):,} texts vectors of no numbers"
        elif found := unusable(vectors[:, :dimension]):
            bad, why = found
            place = int(bad.argmax())
            what = (
                f'for text {place + 1:,} of the {len(texts):,} in a request ("{texts[place][:60]}") a vector that '
                f"{why}; {bad.sum():,} like it"
            )
        else:
            return
        raise EncoderError(
            f"{self._endpoint} gave {what}.",
            f'Check that "{self._model}" is a model for embeddings; leave out items without a text that it can read.',
        )


def make(rest: str, settings: EncoderSettings, device: str) -> ApiEncoder:
    """Return the encoder for `URL#model`.

    Raises:
        UsageError: if the address is none, or holds what may be a secret.
        EncoderError: if the key file cannot be read or the key cannot be sent.
    """
    url, _, model = rest.partition("#")
    parts = split_address(url)
    if parts.username or parts.password or parts.query:
        raise UsageError(
            "The address of an api: encoder cannot hold a user, a password or a query, which may be secrets.",
            "Give the address alone, and the key with --api-key-file or OPENAI_API_KEY.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not model or not _requestable(url):
        raise UsageError(
            f'--encoder cannot be "api:{rest}".',
            "Write --encoder api:URL#model, such as api:http://localhost:11434/v1#nomic-embed-text.",
        )
    return ApiEncoder(endpoint_of(url), model, _key(settings.api_key_file), settings)


def endpoint_of(url: str) -> str:
    """Return the address of the embeddings endpoint from a base address, with or without its `/v1`."""
    url = url.rstrip("/")
    if url.endswith("/embeddings"):
        return url
    return f"{url}/embeddings" if re.search(r"/v\d+$", url) else f"{url}/v1/embeddings"


def _requestable(url: str) -> bool:
    """Return whether requests can be sent to an address: only then is its port a number, its host a name."""
    import httpx

    try:
        asked = httpx.URL(url)
        asked.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return False
    return asked.port is None or 0 < asked.port < 2**16


def _key(path: str | None) -> str | None:
    source = f"--api-key-file {path}" if path else "OPENAI_API_KEY"
    try:
        key = Path(path).read_text("utf-8").strip() if path else os.environ.get("OPENAI_API_KEY", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise EncoderError(f"The key file {path} cannot be read ({reason}).", "Correct --api-key-file.") from None
    if path and not key:
        raise EncoderError(f"The key file {path} is empty.", "Put the key in it, on one line.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EncoderError(
            f"The key from {source} holds a blank, a line break or a letter that a key cannot have.",
            "Put the key alone there, on one line.",
        )
    return key or None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in seconds or as a date; None without one."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None


def _span(rows: dict[int, Any]) -> str:
    return f"{min(rows)} to {max(rows)}" if rows else "none"
