"""Referring expression generation: METEOR and CIDEr by the COCO caption tools, and exact match (paper, Table 6).

The COCO METEOR (version 1.5) and the COCO tokenizer are Java programs. Where there is no Java, other numbers are given
under other names (`meteor_nltk`, `cider_plain_tokens`), never under `meteor` and `cider`.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pycocoevalcap
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

_TOOLS = Path(pycocoevalcap.__path__[0])
_WORD = re.compile(r"\w+(?:['-]\w+)*")


@dataclass(frozen=True)
class REGResult:
    """Corpus scores as fractions (CIDEr may exceed 1), and the value of each phrase `[n]` where there is one."""

    scores: Mapping[str, float]
    per_sample: Mapping[str, np.ndarray]
    note: str = ""


def java_path() -> str | None:
    """The `java` program, or None where there is none."""
    return shutil.which("java")


def normalise(phrase: str) -> str:
    """Lower case, single spaces, no punctuation at the ends, no leading article: what `exact` compares."""
    words = _WORD.findall(phrase.lower())
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def exact_match(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Bool `[n]`: the prediction equals one of its references after `normalise`."""
    pairs = zip(predictions, references, strict=True)
    return np.array([normalise(p) in {normalise(r) for r in refs} for p, refs in pairs], dtype=bool)


class REGScorer(AbstractContextManager["REGScorer"]):
    """Scores phrases; one METEOR process is started at once (it loads for seconds beside other work) and kept.

    `java` is the program's path; None means: do without.
    """

    def __init__(self, java: str | None = "") -> None:
        self.java = java_path() if java == "" else java
        self._meteor = _Meteor(self.java) if self.java else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._meteor:
            self._meteor.close()

    def score(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> REGResult:
        """METEOR, CIDEr and exact match of `[n]` phrases, each with one or more references.

        CIDEr weighs words by how rare they are among *these* references, so it compares methods on one set only.
        Raises ValueError on empty input or a phrase without reference.
        """
        if not predictions or len(predictions) != len(references) or not all(references):
            raise ValueError("phrases and references must be as many, at least one, and each with a reference")
        exact = exact_match(predictions, references)
        texts = [*predictions, *(r for refs in references for r in refs)]
        if self._meteor:
            assert self.java
            tokens = iter(_ptb_tokenize(self.java, texts))
            note, names = "", ("meteor", "cider")
        else:
            tokens = iter([" ".join(_WORD.findall(t.lower())) for t in texts])
            note = "no java: METEOR by nltk without synonyms and CIDEr on plainly split words, under other names"
            names = ("meteor_nltk", "cider_plain_tokens")
        results = {i: [next(tokens)] for i in range(len(predictions))}
        truths = {i: [next(tokens) for _ in refs] for i, refs in enumerate(references)}
        meteor, meteors = self._meteor.score(truths, results) if self._meteor else _nltk_meteor(truths, results)
        cider, ciders = Cider().compute_score(truths, results)
        return REGResult(
            scores={names[0]: float(meteor), names[1]: float(cider), "exact": float(exact.mean())},
            per_sample={names[0]: np.array(meteors), names[1]: np.array(ciders), "exact": exact.astype(float)},
            note=note,
        )


class _Meteor:
    """The METEOR 1.5 program, talked to line by line as pycocoevalcap does, with its errors out of the way."""

    def __init__(self, java: str) -> None:
        command = [
            java,
            "-Dfile.encoding=UTF-8",
            "-Xmx2G",
            "-jar",
            "meteor-1.5.jar",
            "-",
            "-",
            "-stdio",
            "-l",
            "en",
            "-norm",
        ]
        self._process = subprocess.Popen(
            command,
            cwd=_TOOLS / "meteor",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            bufsize=1,
        )

    def score(self, truths: dict[int, list[str]], results: dict[int, list[str]]) -> tuple[float, list[float]]:
        """The corpus score and one score per phrase."""
        stats = [self._ask(" ||| ".join(["SCORE", *truths[i], results[i][0]])) for i in truths]
        self._write(" ||| ".join(["EVAL", *stats]))
        scores = [float(self._read()) for _ in stats]
        return float(self._read()), scores

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, line: str) -> str:
        self._write(line)
        return self._read()

    def _write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the METEOR program ended; run it by hand to see why: java -jar meteor-1.5.jar")
        return line.strip()


def _ptb_tokenize(java: str, texts: Sequence[str]) -> list[str]:
    """Stanford's PTB tokens of each text, lower case, without punctuation, as the COCO tools make them.

    pycocoevalcap's own wrapper writes into its package folder, which may be read-only.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(" ".join(t.replace("|||", " ").split()) for t in texts) + "\n")
        file.flush()
        jar = _TOOLS / "tokenizer" / STANFORD_CORENLP_3_4_1_JAR
        command = [java, "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase", file.name],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
        )  # fmt: skip
    lines = done.stdout.split("\n")[: len(texts)]
    if len(lines) != len(texts):
        raise RuntimeError(f"the PTB tokenizer gave {len(lines)} lines for {len(texts)} texts")
    return [" ".join(w for w in line.split() if w not in PUNCTUATIONS) for line in lines]


class _NoSynonyms:
    """The part of WordNet that nltk's METEOR asks for, empty: exact and stem matches only."""

    def synsets(self, word: str) -> list[object]:
        return []


def _nltk_meteor(truths: dict[int, list[str]], results: dict[int, list[str]]) -> tuple[float, list[float]]:
    from nltk.translate.meteor_score import meteor_score

    scores = [
        float(meteor_score([t.split() for t in truths[i]], results[i][0].split(), wordnet=_NoSynonyms()))
        for i in truths
    ]
    return float(np.mean(scores)), scores
