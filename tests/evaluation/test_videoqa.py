"""The judge of VideoQA against a real HTTP server on this machine, and what needs no judge."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elysium.cli import main
from elysium.data.video import write_video
from elysium.errors import UserError
from elysium.evaluation.benchmarks.run import Options, evaluate
from elysium.evaluation.report import paper_tables
from elysium.evaluation.videoqa import (
    Judge,
    Verdict,
    exact_matches,
    normalised_matches,
    parse_verdict,
    score_answers,
    uniform_frames,
)
from tests.evaluation import official
from tests.evaluation.colour_model import MODEL, AskedModel

KEY = "sk-very-secret-1234"


class Server:
    """An OpenAI-compatible endpoint. It grades by comparing words; `troubles` are answered first, one a request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.troubles: list[tuple[int, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append({"path": self.path, **body})
                outer.headers.append(dict(self.headers))
                status, text = outer.troubles.pop(0) if outer.troubles else (200, outer.grade(body))
                reply: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": text}}]}
                reply["usage"] = {"prompt_tokens": 100, "completion_tokens": 10}
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def grade(body: dict[str, Any]) -> str:
        sample = json.loads(body["messages"][-1]["content"])
        right = sample["reference answer"] in sample["model's answer"]
        return json.dumps({"correct": "yes" if right else "no", "score": 5 if right else 2})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def judge(server: Server, tmp_path: Path) -> Callable[..., Judge]:
    def make(**changes: Any) -> Judge:
        settings = {"key": KEY, "price": (0.5, 1.5), "workers": 2, "backoff": 0.0, "timeout": 5.0}
        return Judge(server.url, "judge-1", tmp_path / "cache.jsonl", **{**settings, **changes})

    return make


ROWS = [
    {"question": "what color is it", "answer": "red", "prediction": "it is red", "video": "a"},
    {"question": "who sings", "answer": "man", "prediction": "a woman sings", "video": "a"},
    {"question": "what is cut", "answer": "dog", "prediction": "cat", "video": "b"},
    {"question": "what is cut", "answer": "bread", "prediction": "Bread.", "video": "c"},
]


def test_accuracy_score_and_cost(server: Server, judge: Callable[..., Judge], tmp_path: Path) -> None:
    """The server calls "it is red" and "a woman sings" right ("man" is in it): 2 of 4, scores 5, 5, 2, 2."""
    row, (note,) = score_answers("MSVD-QA", ROWS, judge())
    assert (row["accuracy"], row["judge_score"], row["n"]) == (50.0, 3.5, 4)
    assert (row["exact_match"], row["normalised_match"]) == (0.0, 25.0)
    assert row["judge_score_low"] <= 3.5 <= row["judge_score_high"]
    assert "judge-1; 4 requests, 0 verdicts from the cache, 400 tokens read and 40 written, $0.0003" in note
    asked = server.requests[0]
    assert (asked["path"], asked["model"], asked["temperature"]) == ("/v1/chat/completions", "judge-1", 0)

    again, (note,) = score_answers("MSVD-QA", ROWS, judge())
    assert again == row and len(server.requests) == 4
    assert "0 requests, 4 verdicts from the cache" in note
    score_answers("MSVD-QA", [{**ROWS[0], "prediction": "it is blue"}], judge())
    assert len(server.requests) == 5


def test_a_busy_server_is_asked_again(server: Server, judge: Callable[..., Judge]) -> None:
    server.troubles = [(429, ""), (503, ""), (500, "")]
    verdicts, cost = judge().grade([("q", "red", "red")])
    assert verdicts == [Verdict(True, 5)] and len(server.requests) == 4
    assert cost["asked"] == 1


def test_an_unclear_verdict_is_asked_for_again_and_then_counted_as_wrong(
    server: Server, judge: Callable[..., Judge]
) -> None:
    server.troubles = [(200, "I would rather not say.")]
    assert judge().grade([("q", "red", "red")])[0] == [Verdict(True, 5)]
    server.troubles = [(200, "no idea"), (200, '{"correct": "yes", "score": 9}')]
    row, (note,) = score_answers("X", [{"question": "q", "answer": "a", "prediction": "a", "video": "v"}], judge())
    assert (row["accuracy"], row["judge_score"]) == (0.0, 1.0)
    assert "without a verdict (counted as wrong): 1" in note


def test_a_refusal_is_one_line_and_what_was_graded_is_kept(
    server: Server, judge: Callable[..., Judge], tmp_path: Path
) -> None:
    one = judge(workers=1)
    one.grade([("q", "red", "red")])
    server.troubles = [(401, KEY)] * 2
    with pytest.raises(UserError, match=r"status 401; is ELYSIUM_JUDGE_KEY set\?") as error:
        one.grade([("q", "red", "red"), ("q", "red", "blue")])
    assert KEY not in str(error.value)
    server.troubles = []
    assert one.grade([("q", "red", "red")])[1]["cached"] == 1


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    judge = Judge(f"http://127.0.0.1:{port}/v1", "m", tmp_path / "c", key=KEY, retries=1, backoff=0.0)
    with pytest.raises(UserError, match=r"the judge does not answer \(ConnectionError\)"):
        judge.grade([("q", "a", "b")])


def test_the_key_is_sent_and_kept_nowhere(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Through the command: the key comes from the environment and stands in no file, log line or output."""
    caplog.set_level("DEBUG")
    official.msrvtt_qa(tmp_path)
    (tmp_path / "given.jsonl").write_text('{"id": "1", "prediction": "dark green"}\n')
    monkeypatch.setenv("ELYSIUM_JUDGE_KEY", KEY)
    command = ["evaluate", "msrvtt-qa", "--in", str(tmp_path), "--out", str(tmp_path / "out")]
    command += ["--predictions", str(tmp_path / "given.jsonl"), "--judge", server.url, "--judge-price", "0.5,1.5"]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    written = [p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert written and not any(KEY.encode() in data for data in written)
    out = capsys.readouterr()
    assert KEY not in out.out + out.err + caplog.text and "$0.0001" in out.out
    assert KEY not in repr(Judge("u", "m", tmp_path, key=KEY))
    found = json.loads((tmp_path / "out/msrvtt-qa/given/metrics.json").read_text())
    assert found["MSRVTT-QA/videoqa/given/accuracy"] == 100


def test_our_row_stands_in_table_3(tmp_path: Path, judge: Callable[..., Judge]) -> None:
    official.msvd_qa(tmp_path)
    rows = evaluate("msvd-qa", tmp_path, tmp_path / "out", AskedModel, MODEL, Options(judge=judge()))
    ((title, grid),) = paper_tables(rows)
    assert title.startswith("Table 3")
    assert grid[-1][:4] == ["Elysium (ours)", "ours, MSVD-QA", "50.0", "3.5"]
    assert ["Elysium (paper)", "as published", "75.8", "3.7"] in [line[:4] for line in grid]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"correct": "yes", "score": 4}', Verdict(True, 4)),
        ("Here it is:\n```json\n{'correct': 'No', 'score': 2}\n```", Verdict(False, 2)),
        ('{"score": "5", "correct": true}', Verdict(True, 5)),
        ('{"correct": "no", "score": 0}', Verdict(False, 1)),
        ('{"correct": "no", "score": 4.5}', None),
        ('{"correct": "maybe", "score": 3}', None),
        ('{"correct": "yes"}', None),
        ('{"correct": "yes", "score": 7}', None),
        ("", None),
    ],
)
def test_verdicts_are_read_as_judges_write_them(text: str, expected: Verdict | None) -> None:
    assert parse_verdict(text) == expected


def test_exact_and_normalised_match_differ_in_punctuation_and_articles() -> None:
    told, true = ["Red", "the red car.", "two"], ["red", "red car", "2"]
    assert exact_matches(told, true).tolist() == [True, False, False]
    assert normalised_matches(told, true).tolist() == [True, True, False]


def test_sixteen_frames_are_spread_evenly_from_first_to_last(tmp_path: Path) -> None:
    """Each frame's brightness is its number."""
    frames = [np.full((32, 32, 3), 20 + i, np.uint8) for i in range(200)]
    for n, tolerance in ((5, 0), (100, 1), (200, 4)):
        write_video(tmp_path / "a.mp4", frames[:n], 25)
        seen = [float(f.mean()) - 20 for f in uniform_frames(tmp_path / "a.mp4")]
        assert len(seen) == min(n, 16)
        np.testing.assert_allclose(seen, np.linspace(0, n - 1, min(n, 16)).round(), atol=2 + tolerance)
