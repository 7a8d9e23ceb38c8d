"""WordNet's lexicographer classes of nouns: is a thing that a word names abstract, a group, a place or an object?

`assets/noun_classes.tsv.gz` is derived from WordNet 3.0 (licence in docs/data.md): `lemma <TAB> class numbers` of the
lemma's senses, the most frequent first. Rebuild it from WordNet's database files with

    python -m elysium.curation.wordnet /usr/share/wordnet
"""

import argparse
import gzip
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

_CLASS_NAMES = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive object "
    "person phenomenon plant possession process quantity relation shape state substance time"
)
CLASSES = _CLASS_NAMES.split()
_FIRST = 3  # number of noun.Tops among WordNet's lexicographer files; the others follow in the order above
_SENSES = 3
_NAME = "noun_classes.tsv.gz"


@lru_cache(maxsize=1)
def noun_classes() -> dict[str, tuple[str, ...]]:
    """Noun lemma -> classes of its first senses: `noun_classes()["dog"][0] == "animal"`."""
    text = gzip.decompress((files("elysium") / "assets" / _NAME).read_bytes()).decode()
    rows = (line.split("\t") for line in text.splitlines())
    return {lemma: tuple(CLASSES[ord(code) - ord("a")] for code in codes) for lemma, codes in rows}


def build(wordnet: Path, out: Path) -> int:
    """Write the table from the folder of WordNet's `index.noun` and `data.noun`; returns the number of lemmas.

    Single words only: captions' compounds are judged by their head.
    """
    class_of: dict[str, int] = {}
    for line in (wordnet / "data.noun").read_text().splitlines():
        if line[0] != " ":
            offset, file_number = line.split(" ", 2)[:2]
            class_of[offset] = int(file_number) - _FIRST
    rows = []
    for line in (wordnet / "index.noun").read_text().splitlines():
        fields = line.split()
        if line[0] == " " or not fields[0].replace("-", "").isalpha():
            continue
        offsets = fields[-int(fields[2]) :][:_SENSES]
        rows.append(f"{fields[0]}\t{''.join(chr(ord('a') + class_of[o]) for o in offsets)}\n")
    out.write_bytes(gzip.compress("".join(rows).encode(), 9, mtime=0))
    return len(rows)


def main() -> None:
    """Command line: the WordNet folder."""
    parser = argparse.ArgumentParser(description="Rebuild the table of noun classes from WordNet's database files.")
    parser.add_argument("wordnet", type=Path)
    out = Path(str(files("elysium") / "assets" / _NAME))
    print(f"{build(parser.parse_args().wordnet, out)} lemmas in {out}")


if __name__ == "__main__":
    main()
