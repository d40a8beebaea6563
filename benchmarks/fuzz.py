"""Whether bad input ends in iadsr's own errors alone: a fuzzer of everything that reads a file.

    python benchmarks/fuzz.py [--seconds 300] [--seed 0] [--engine mutate]

Inputs are mutations of good ones: logs of all formats (`tests/generated.py`), item files, settings files, artifact
folders whose manifests fit their damaged files, checkpoints, vector files, descriptions of model folders. With atheris
installed (`--engine atheris`) the coverage of iadsr's code guides them, else chance alone. Anything that is no
`IadsrError`, or takes longer than `SLOW` seconds, is a finding: it is printed once, its input is kept below `--keep`,
and the exit code is 1. Memory is limited to `MEMORY` bytes.
"""

import argparse
import json
import os
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SLOW, MEMORY = 20.0, 8 << 30
WORDS = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"\n",
    b"\r",
    b",",
    b"{",
    b"}",
    b"[",
    b"null",
    b"NaN",
    b"1e999",
    b"-1",
]
WORDS += [b"9" * 25, b"\\ud800", b"../", b"true", b"user_id", b"[[[[", b"PAR1", b"\x1f\x8b", b'"shape":[99999999999]']


def mutated(seed: bytes, other: bytes, random: Random) -> bytes:
    """Return `seed` with some bytes changed, cut, doubled, or replaced by words or by parts of `other`."""
    data = bytearray(seed)
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        at = random.randrange(len(data) + 1)
        length = min(random.choice([1, 1, 2, 4, 8, 64]), len(data) - at)
        match random.randrange(7):
            case 0 if length:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = random.choice(WORDS)
            case 3:
                data[at : at + length] = random.choice(WORDS)
            case 4:
                data[at:at] = data[at : at + length] * random.choice([1, 2, 50])
            case 5 if other:
                start = random.randrange(len(other))
                data[at : at + length] = other[start : start + random.choice([1, 4, 32])]
            case 6:
                data[at : at + length] = random.randbytes(length)
    return bytes(data)


class Targets:
    """What is fuzzed: for each name, its good inputs and what reads one. Made in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        from generated import generated_log

        self.folder = folder
        self.settings: dict[str, Any] = {}
        self.seeds: dict[str, list[bytes]] = {}
        self.read: dict[str, Callable[[bytes], None]] = {}
        random = Random(0)
        for kind in ("parquet", "csv", "tsv", "jsonl"):
            logs = [generated_log(random, kind) for _ in range(60)]
            logs = [log for log in logs if len(log.content) < 20_000 and log.suffix != ".zst"]
            suffixes = sorted({log.suffix for log in logs})
            for suffix in suffixes:
                some = [log for log in logs if log.suffix == suffix]
                seeds = [log.content for log in some]
                self._add(f"log.{kind}{suffix}", seeds, self._log(f"log.{kind}{suffix}"))
                self._add(f"parts of log.{kind}{suffix}", seeds, self._parts(f"log.{kind}{suffix}"))
        items = [b"item_id,title\n1,a\n2,\n", b'{"item_id": 1, "title": ["a", "b"]}\n{"item_id": 1, "title": null}\n']
        self._add("items.csv", items[:1], self._items("items.csv"))
        self._add("items.jsonl", items[1:], self._items("items.jsonl"))
        toml = b'seed = 7\nuser-column = "member"\ntext_column = ["a"]\n[denoise]\nbudget = "5%"\nthreshold = 0.5\n'
        self._add("iadsr.toml", [toml, b"[embed]\nquiet = true\n"], self._config)
        self._artifacts()
        self._encoders()

    def _add(self, name: str, seeds: list[bytes], read: Callable[[bytes], None]) -> None:
        self.seeds[name], self.read[name] = seeds, read

    def _log(self, name: str) -> Callable[[bytes], None]:
        import numpy as np
        from written import write_rows

        from iadsr_cli.config import LogSettings
        from iadsr_cli.errors import IadsrError
        from iadsr_cli.logs.reader import read_log

        path = self.folder / name
        kinds = ("parquet", "jsonl", "csv")

        def read(content: bytes) -> None:
            path.write_bytes(content)
            random = Random(len(content))
            settings = LogSettings(
                null_ids=random.choice(["keep", "keep", "error"]),
                time_unit=random.choice(["auto", "ms"]),
                encoding=random.choice(["utf-8"] * 5 + ["utf-16", "latin-1", "shift_jis"]),
                format=random.choice(["auto"] * 8 + ["csv", "jsonl"]),
            )
            try:
                log = read_log(str(path), settings)
            except IadsrError:
                log = read_log(str(path), replace(settings, time_column="none", text_column=("none",)))
            for column in log.column_names:
                log.column(column)
            keep = np.arange(log.num_rows) % 2 == 0
            out = self.folder / f"out.{random.choice(kinds)}"
            own = self.folder / f"own-{name}"
            write_rows(log, str(own), keep, force=True, format_override=log.format.kind)
            ids = [log.user_ids().to_pylist(), log.item_ids().to_pylist()]
            try:
                log.item_texts()
            finally:
                write_rows(log, str(out), keep, force=True)
            assert all(len(values) == log.num_rows for values in ids)

        return read

    def _parts(self, name: str) -> Callable[[bytes], None]:
        """Return what reads a log in parts, of text in blocks of a few bytes, and compares it with that in memory."""
        import numpy as np
        from written import write_rows

        from iadsr_cli.config import LogSettings
        from iadsr_cli.logs import blocks
        from iadsr_cli.logs.parted_reader import open_parts
        from iadsr_cli.logs.parted_writer import check_writing, stands, writing
        from iadsr_cli.logs.reader import read_log
        from iadsr_cli.progress import Silent

        path, kind = self.folder / f"parts-{name}", name.split(".")[1]

        def read(content: bytes) -> None:
            path.write_bytes(content)
            random = Random(len(content))
            blocks.BLOCK = max(random.choice([1, 2, 7, 64, 1000]), len(content) // 50)
            settings = LogSettings(
                null_ids=random.choice(["keep", "keep", "error"]),
                time_column=random.choice([None, "none"]),
                encoding=random.choice(["utf-8"] * 5 + ["utf-16", "latin-1", "shift_jis"]),
            )
            log = open_parts(str(path), settings, Silent())
            parts = list(log.parts(with_columns=True))
            memory = read_log(str(path), settings)
            for found, expected in (("users", memory.user_ids()), ("items", memory.item_ids())):
                assert [each for part in parts for each in getattr(part, found)] == list(expected), found
            assert memory.order() is None or np.concatenate([part.order for part in parts]).tolist() == list(
                memory.order()  # type: ignore[arg-type]
            )
            keep = np.arange(memory.num_rows) % 2 == 0
            for target in {kind, random.choice(["csv", "jsonl", "parquet"])}:
                out = [self.folder / f"{way}.{target}" for way in ("parts", "memory")]
                check_writing(log, str(out[0]), {})
                with writing(log, str(out[0]), {}, True) as write:
                    for piece in log.pieces(with_columns=not stands(log, str(out[0]))):
                        write(piece, keep[piece.first : piece.first + piece.records.num_rows], {})
                write_rows(memory, str(out[1]), keep, force=True)
                assert target == "parquet" or out[0].read_bytes() == out[1].read_bytes(), target

        return read

    def _items(self, name: str) -> Callable[[bytes], None]:
        from iadsr_cli.config import LogSettings
        from iadsr_cli.logs.reader import read_items

        def read(content: bytes) -> None:
            (self.folder / name).write_bytes(content)
            items = read_items(str(self.folder / name), LogSettings(), joined=len(content) % 2 == 0)
            assert len(items.ids) == len(items.texts)

        return read

    def _config(self, content: bytes) -> None:
        from iadsr_cli.cli.groups import GROUPS
        from iadsr_cli.cli.settings_file import read_config
        from iadsr_cli.config import Settings

        path = self.folder / "iadsr.toml"
        path.write_bytes(content)
        values = read_config(path, "denoise")
        for kind, _ in GROUPS.values():
            fields = set(kind.__dataclass_fields__)
            taken = {name: value for name, value in values.items() if name in fields}
            made: Settings = kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in taken.items()})
            made.record()

    def _artifacts(self) -> None:
        import numpy as np
        import pyarrow as pa
        import torch

        from iadsr_cli.artifacts import write_artifact
        from iadsr_cli.checkpoints import Checkpoint
        from iadsr_cli.config import BackboneSettings
        from iadsr_cli.encoders.contract import ItemVectors
        from iadsr_cli.encoders.folder import load_vectors, save_vectors
        from iadsr_cli.models import make_backbone
        from iadsr_cli.models.alignment import AlignedModel
        from iadsr_cli.models.store import Vocabulary, load_recommender, save_model

        vectors = ItemVectors(["a", "b"], np.eye(2, dtype=np.float32), np.ones(2, bool), ["0", None], {"kind": "x"})
        vocabulary = Vocabulary(pa.array(["a", "b"], pa.large_string()), np.ones(3, np.int64))
        settings = BackboneSettings(backbone="sasrec", embedding_size=4, window=4)
        backbone = make_backbone(settings, 2)
        aligned = AlignedModel(backbone, torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool))
        config = {"backbone": settings.record()}
        made: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
            "embed": (lambda draft: save_vectors(draft, vectors), {"encoder": {}}),
            "pretrain": (lambda draft: save_model(draft, backbone, vocabulary, []), config),
            "align": (lambda draft: save_model(draft, aligned, vocabulary, []), config),
        }
        cpu = torch.device("cpu")
        for kind, (fill, record) in made.items():
            folder = self.folder / kind
            write_artifact(folder, kind, fill, config=record, inputs={}, facts={"semantic_size": 2})
            load = load_vectors if kind == "embed" else lambda folder: load_recommender(folder, cpu)
            for file in sorted(folder.iterdir()):
                if file.suffix != ".jsonl":
                    self._add(f"{kind}/{file.name}", [file.read_bytes()], self._artifact(file, load))
        checkpoint = Checkpoint(self.folder / "checkpoint.safetensors", "run")
        checkpoint.save({"weight": torch.zeros(2, 3)}, {"epoch": 1})

        def resume(content: bytes) -> None:
            checkpoint.path.write_bytes(content)
            checkpoint.load()

        self._add("checkpoint.safetensors", [checkpoint.path.read_bytes()], resume)

    def _artifact(self, file: Path, load: Callable[[Path], object]) -> Callable[[bytes], None]:
        """Read the folder with other content in one file, and with a manifest that says so."""
        from iadsr_cli.artifacts import MANIFEST, file_digest

        before = file.read_bytes()
        manifest = file.with_name(MANIFEST)

        def read(content: bytes) -> None:
            said = manifest.read_bytes()
            try:
                file.write_bytes(content)
                if file != manifest:
                    fitting = json.loads(said)
                    fitting["outputs"][file.name] = file_digest(file)
                    manifest.write_text(json.dumps(fitting))
                load(file.parent)
            finally:
                file.write_bytes(before)
                manifest.write_bytes(said if file != manifest else before)

        return read

    def _encoders(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from iadsr_cli.config import EncoderSettings
        from iadsr_cli.encoders.registry import make_encoder

        table = self.folder / "vectors.parquet"
        pq.write_table(pa.table({"item_id": [1, 2], "vector": [[0.5, 1.0], [1.0, 0.0]]}), table)
        model = self.folder / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
        modules = b'[{"type": "sentence_transformers.models.Pooling", "path": "a"}]'
        for path, seed, name in (
            (table, table.read_bytes(), f"vectors:{table}"),
            (model / "modules.json", modules, str(model)),
            (model / "config.json", b'{"auto_map": {"AutoModel": "own.Model"}}', str(model)),
        ):

            def read(content: bytes, path: Path = path, name: str = name) -> None:
                path.write_bytes(content)
                make_encoder(EncoderSettings(encoder=name), "cpu")

            self._add(f"encoder {path.name}", [seed], read)


class Findings:
    """Runs inputs and keeps what went wrong, once for each place in the code."""

    def __init__(self, targets: Targets, keep: Path) -> None:
        self.targets, self.keep = targets, keep
        self.executions: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.found: set[str] = set()

    def run(self, name: str, content: bytes) -> None:
        """Read one input."""
        from iadsr_cli.errors import IadsrError

        self.executions[name] += 1
        start = time.perf_counter()
        (self.keep / "last").write_bytes(content)  # what it was, should it end the process
        (self.keep / "last-name").write_text(name)
        try:
            self.targets.read[name](content)
            self.accepted[name] += 1
        except IadsrError as error:
            if "\n" in error.message or "\n" in error.hint:
                self._keep(name, content, f"an error of several lines: {error!r}")
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "iadsr_cli" in f.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
            self._keep(name, content, f"{type(error).__name__} in {place}: {str(error)[:200]}")
        if time.perf_counter() - start > SLOW:
            self._keep(name, content, "slow")

    def _keep(self, name: str, content: bytes, what: str) -> None:
        key = f"{name}: {what.partition(':')[0]}"
        if key not in self.found:
            self.found.add(key)
            path = self.keep / f"{len(self.found):03d}-{name.replace('/', '-').replace(' ', '-')}"
            path.write_bytes(content)
            print(f"finding: {name}: {what} ({path})", flush=True)

    def summary(self) -> str:
        """Return what was run, in words."""
        lines = [
            f"{name}: {count:,} executions, {self.accepted[name]:,} accepted"
            for name, count in sorted(self.executions.items())
        ]
        return "\n".join([*lines, f"{self.executions.total():,} executions, {len(self.found)} findings"])


def by_chance(findings: Findings, seconds: float, seed: int) -> None:
    """Mutate good inputs until the time is over."""
    random = Random(seed)
    targets = findings.targets
    names = sorted(targets.seeds)
    for name in names:
        for content in targets.seeds[name]:
            findings.run(name, content)
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        name = random.choice(names)
        good = random.choice(targets.seeds[name])
        findings.run(name, mutated(good, random.choice(targets.seeds[random.choice(names)]), random))


def by_coverage(findings: Findings, seconds: float, seed: int) -> None:
    """Let atheris mutate; the first byte of an input chooses the target. Does not return."""
    import atheris

    targets = findings.targets
    names = sorted(targets.seeds)
    corpus = findings.keep / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        for index, content in enumerate(targets.seeds[name]):
            (corpus / f"{number:03d}-{index:03d}").write_bytes(bytes([number]) + content)
    start = time.monotonic()

    def one(data: bytes) -> None:
        if data:
            findings.run(names[data[0] % len(names)], data[1:])
        if time.monotonic() - start > seconds:
            print(findings.summary(), flush=True)
            os._exit(1 if findings.found else 0)

    arguments = [f"-seed={seed + 1}", f"-max_total_time={int(seconds) + 60}", "-rss_limit_mb=0", "-max_len=20000"]
    atheris.Setup([sys.argv[0], *arguments, "-verbosity=0", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """Make good inputs, spoil them, read them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("mutate", "atheris"), default="mutate")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings; a temporary one")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    if arguments.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["iadsr_cli"], enable_loader_override=False):
            import iadsr_cli.cli.options
            import iadsr_cli.encoders.registry
            import iadsr_cli.logs.writer
            import iadsr_cli.models.store  # noqa: F401
    keep = arguments.keep or Path(tempfile.mkdtemp(prefix="iadsr-fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        targets = Targets(Path(folder))
        findings = Findings(targets, keep)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        engine = by_coverage if arguments.engine == "atheris" else by_chance
        engine(findings, arguments.seconds, arguments.seed)
    print(findings.summary())
    raise SystemExit(1 if findings.found else 0)


if __name__ == "__main__":
    main()
