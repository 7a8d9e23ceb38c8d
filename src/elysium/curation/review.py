"""The check of the evaluation split by a person (section 3.2: "we manually check each case").

A page, on this machine only, shows each trajectory of the evaluation split; `a` accepts, `r` rejects, the arrows go
back and forth. Verdicts are appended to `review.jsonl` at once; `apply_review` writes the split without what was
rejected.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import cv2
import numpy as np

from elysium.curation.annotations import write_annotations
from elysium.curation.report import draw_strip
from elysium.data.shards import list_shards, open_shard, write_shard
from elysium.errors import UserError
from elysium.samples import VideoRecord

VERDICTS = ("accept", "reject")
_LONGEST_BODY = 1000  # bytes of a posted verdict


class Review:
    """The trajectories of a curated folder's evaluation split, and what was decided of them."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError if the folder has no evaluation split, or its review.jsonl a line of another form."""
        self.folder = folder
        self._places: dict[str, tuple[Path, int, int]] = {}
        self.cases: list[dict[str, object]] = []
        for path in list_shards(folder, "eval"):
            shard = open_shard(path)
            for i in range(len(shard)):
                record = shard.header(i)
                for number, track in enumerate(record.objects):
                    case = f"{record.key}-{number}"
                    self._places[case] = (path, i, number)
                    self.cases.append({"id": case, "expression": track.expression, "captions": record.captions})
        self._lock = Lock()
        self.log = folder / "review.jsonl"
        self.verdicts = _read_verdicts(self.log)

    def decide(self, case: str, verdict: str) -> None:
        """Record a verdict; a later one of the case replaces it. Raises KeyError or ValueError on anything else."""
        if verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, not {verdict!r}")
        if case not in self._places:
            raise KeyError(case)
        with self._lock, open(self.log, "a") as file:
            file.write(json.dumps({"id": case, "verdict": verdict}) + "\n")
            self.verdicts[case] = verdict

    def picture(self, case: str) -> bytes:
        """PNG: four frames with the case's box. Raises KeyError if there is no such case."""
        path, i, number = self._places[case]
        record = open_shard(path).header(i)
        record = replace(record, objects=(record.objects[number],))
        numbers = np.linspace(0, len(record.frame_times) - 1, 4).astype(int).tolist()
        strip = draw_strip(record, open_shard(path).frames(i, numbers), numbers)
        _, data = cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
        return data.tobytes()


def _read_verdicts(path: Path) -> dict[str, str]:
    verdicts: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        try:
            row = json.loads(line)
            verdicts[row["id"]] = row["verdict"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}:{number}: not a verdict; remove the line") from error
    return verdicts


def apply_review(folder: Path, out: Path) -> dict[str, int]:
    """Write the evaluation split without rejected trajectories to `out`; returns how many of each verdict there are.

    What nobody looked at stays in, and is counted as `undecided`. Raises UserError as `Review` does.
    """
    review = Review(folder)
    counts = dict.fromkeys((*VERDICTS, "undecided"), 0)
    for case in review.cases:
        counts[review.verdicts.get(str(case["id"]), "undecided")] += 1
    left: list[VideoRecord] = []
    for path in list_shards(folder, "eval"):
        shard = open_shard(path)
        kept = [r for r in (_without_rejected(shard[i], review.verdicts) for i in range(len(shard))) if r.objects]
        if kept:
            write_shard(out / path.name, kept)
            left += kept
        else:
            (out / path.name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    write_annotations(out / "annotations.jsonl", left)
    return counts


def _without_rejected(record: VideoRecord, verdicts: dict[str, str]) -> VideoRecord:
    kept = [i for i in range(len(record.objects)) if verdicts.get(f"{record.key}-{i}") != "reject"]
    lists: dict[str, Any] = {  # what the metadata says of each object
        name: [record.metadata[name][i] for i in kept] for name in ("confidence", "drift") if name in record.metadata
    }
    return replace(record, objects=tuple(record.objects[i] for i in kept), metadata={**record.metadata, **lists})


@lru_cache(maxsize=1)
def _page() -> bytes:
    return (files("elysium") / "assets" / "review.html").read_bytes()


def _handler(review: Review) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """`/`, `/cases`, `/picture/ID`, and verdicts posted to `/verdict`."""

        def do_GET(self) -> None:
            if not self._is_local():
                return
            if self.path == "/":
                self._send("text/html; charset=utf-8", _page())
            elif self.path == "/cases":
                self._send(
                    "application/json", json.dumps({"cases": review.cases, "verdicts": review.verdicts}).encode()
                )
            elif self.path.startswith("/picture/"):
                try:
                    self._send("image/png", review.picture(self.path.removeprefix("/picture/")))
                except KeyError:
                    self.send_error(HTTPStatus.NOT_FOUND)
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            # Another page's script cannot post JSON here: browsers would ask first, and get no answer.
            if not self._is_local():
                return
            if self.path != "/verdict" or self.headers.get_content_type() != "application/json":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            length = int(self.headers.get("Content-Length") or 0)
            try:
                if not 0 < length <= _LONGEST_BODY:
                    raise ValueError("a verdict is short")
                row = json.loads(self.rfile.read(length))
                review.decide(row["id"], row["verdict"])
            except (ValueError, KeyError, TypeError):
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            self._send("application/json", b"{}")

        def _is_local(self) -> bool:
            """Whether the page was asked for by a local name: a foreign one that leads here is refused."""
            local = (self.headers.get("Host") or "").rpartition(":")[0] in ("127.0.0.1", "localhost")
            if not local:
                self.send_error(HTTPStatus.FORBIDDEN)
            return local

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: a line per picture would bury what matters."""

    return Handler


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[str]:
    """The page as long as the context lasts; gives its address on 127.0.0.1. `port` 0 takes a free one.

    Raises UserError if the port is taken, or as `Review` does.
    """
    review = Review(folder)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(review))
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be used ({error}); choose another with --port") from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
