"""Tables of the figures: `results.md` and `results.csv` in short, `report.md` and `report.html` in full.

The report sets our rows under the paper's published rows (`assets/paper_tables.json`, published values); ours were
measured with another model and, except on the paper's own benchmarks, on other data, and say so.
"""

import csv
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from elysium.evaluation.score import NAMES, TRACKING, Rows, flat_metrics

LABELS = {
    "auc": "AUC",
    "precision": "P@20px",
    "norm_precision": "P_norm@0.2",
    "norm_precision_auc": "P_norm AUC",
    "success_50": "SR@0.5",
    "no_box": "no box",
    "follows_words": "follows words",
    "legacy_auc": "legacy AUC (faulty)",
    "acc50": "acc@0.5",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "meteor_nltk": "METEOR by nltk",
    "cider_plain_tokens": "CIDEr on plain tokens",
    "exact": "exact",
    "ao": "AO",
    "sr50": "SR 0.5",
    "sr75": "SR 0.75",
    "accuracy": "accuracy (judge)",
    "judge_score": "score 1-5 (judge)",
    "exact_match": "exact match",
    "normalised_match": "normalised match",
}
_SECTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "Tracking: from a box (SOT) and by an expression (RSOT)",
        ("sot", "rsot"),
        (*TRACKING, "ao", "sr50", "sr75", "follows_words", "no_box"),
    ),
    ("Referring expression comprehension (REC)", ("rec",), ("acc50",)),
    (
        "Video referring expression generation (Video-REG)",
        ("reg",),
        ("meteor", "cider", "meteor_nltk", "cider_plain_tokens", "exact"),
    ),
    (
        "Video question answering (VideoQA)",
        ("videoqa",),
        ("accuracy", "judge_score", "exact_match", "normalised_match"),
    ),
)

_IN_FULL = ("norm_precision_auc", "success_50", "sr75", "no_box")

# Tracking benchmarks that belong under Table 4 and not under Table 5.
_PUBLIC = ("LaSOT", "UAV123", "OTB-100", "GOT-10k val", "TNL2K")

Grid = list[list[str]]


def sections(rows: Rows, brief: bool = False) -> list[tuple[str, Grid]]:
    """`(title, table)` for each kind of task that has rows; the first line of a table is its head.

    `brief` tables have no intervals and only the paper's metrics, to fit a terminal.
    """
    found = []
    for title, tasks, metrics in _SECTIONS:
        mine = [r for r in rows if r["task"] in tasks]
        shown = [m for m in metrics if any(m in r for r in mine) and not (brief and m in _IN_FULL)]
        if mine:
            head = ["set", "task", "method", "n", *(LABELS[m] for m in shown)]
            body = [
                [r["set"], r["task"].upper(), NAMES[r["method"]], str(r["n"]), *(_cell(r, m, not brief) for m in shown)]
                for r in mine
            ]
            found.append((title, [head, *body]))
    return found


def _cell(row: Mapping[str, Any], metric: str, intervals: bool) -> str:
    if metric not in row:
        return ""
    text = f"{row[metric]:.1f}"
    low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    return text if low is None or not intervals else f"{text} [{low:.1f}, {high:.1f}]"


def write_csv(rows: Rows, path: Path) -> None:
    """All figures, one line per set, task and method; a figure that a row does not have stays empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or ["set", "task", "method", "n"], restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_results(rows: Rows, about: Mapping[str, Any], notes: Sequence[str], path: Path) -> None:
    """The short Markdown table. `about` says what was evaluated."""
    parts = ["# Results", "", _about(about), ""]
    for title, grid in sections(rows):
        parts += [f"## {title}", "", _markdown(grid), ""]
    parts += _notes(notes)
    path.write_text("\n".join(parts) + "\n")


def print_results(rows: Rows, notes: Sequence[str], console: Console | None = None) -> None:
    """The same tables on the terminal, without the intervals."""
    console = console or Console()
    for title, (head, *body) in sections(rows, brief=True):
        table = Table(title=title, title_justify="left")
        for i, name in enumerate(head):
            table.add_column(name, justify="left" if i < 3 else "right", no_wrap=i < 3)
        for line in body:
            table.add_row(*line, style="bold" if line[2] == NAMES["elysium"] else None)
        console.print(table)
    for note in notes:
        console.print(f"- {note}", markup=False)


def write_report(
    rows: Rows,
    groups: Rows,
    about: Mapping[str, Any],
    notes: Sequence[str],
    pictures: Sequence[Path],
    folder: Path,
) -> None:
    """`report.md` and `report.html`: every table, AUC by size, motion and length, the paper's tables with ours below.

    `pictures` are shown by their path relative to `folder`.
    """
    titled = [*sections(rows), *_group_tables(groups), *paper_tables(rows)]
    images = [str(p.relative_to(folder)) for p in pictures]
    parts = ["# Evaluation report", "", _about(about), ""]
    for title, grid in titled:
        parts += [f"## {title}", "", _markdown(grid), ""]
    parts += [f"![{name}]({name})" for name in images] + [""] + _notes(notes)
    (folder / "report.md").write_text("\n".join(parts) + "\n")

    body = [f"<h1>Evaluation report</h1><p>{html.escape(_about(about))}</p>"]
    for title, grid in titled:
        body.append(f"<h2>{html.escape(title)}</h2>{_html_table(grid)}")
    body += [f'<img src="{html.escape(name)}" alt="{html.escape(name)}">' for name in images]
    body.append("<ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes) + "</ul>")
    (folder / "report.html").write_text(_PAGE.format(body="\n".join(body)))


def write_all(
    rows: Rows, groups: Rows, about: Mapping[str, Any], notes: Sequence[str], pictures: Sequence[Path], out: Path
) -> None:
    """Every file of figures: `results.csv`, `groups.csv`, `results.md`, `report.md`, `report.html`, `metrics.json`."""
    write_csv(rows, out / "results.csv")
    write_csv(groups, out / "groups.csv")
    write_results(rows, about, notes, out / "results.md")
    write_report(rows, groups, about, notes, pictures, out)
    (out / "metrics.json").write_text(json.dumps(flat_metrics(rows), indent=2) + "\n")


def paper_tables(rows: Rows) -> list[tuple[str, Grid]]:
    """The paper's tables that we have rows for, as published, our rows below.

    Where ours were measured on other data, they say so and stand in columns of their own.
    """
    paper = json.loads(files("elysium").joinpath("assets/paper_tables.json").read_text())
    found = []
    for number, table in paper["tables"].items():
        mine = [(row, cells) for row in rows if (cells := _our_cells(number, row, table["columns"]))]
        if not mine:
            continue
        extra = [c for c in dict.fromkeys(c for _, cells in mine for c in cells) if c not in table["columns"]]
        columns = [*table["columns"], *extra]
        body = [
            [row[0], "as published", *("" if v is None else str(v) for v in row[1:]), *[""] * len(extra)]
            for row in table["rows"]
        ]
        body += [[NAMES[r["method"]], f"ours, {r['set']}", *(cells.get(c, "") for c in columns)] for r, cells in mine]
        title = f"Table {number} of the paper (published values) and ours: {table['title']}"
        found.append((title, [["model", "measured on", *columns], *body]))
    return found


def _our_cells(number: str, row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """`column -> figure` of one of our rows in a table of the paper; empty if it does not belong there.

    On the paper's own benchmarks the figures stand in the paper's columns, on other sets in further ones.
    """
    where, task = row["set"], row["task"]
    tracking = {"AUC": "auc", "P": "precision", "P_norm": "norm_precision"}
    wanted: dict[str, str] = {}
    if number == "2" and task == "rec":
        wanted = {where if where in columns else "acc@0.5 on that set": "acc50"}
    elif number == "3" and task == "videoqa":
        wanted = {f"{where} Acc.": "accuracy", f"{where} Score": "judge_score"}
        wanted |= {} if "accuracy" in row else {f"{where} normalised match": "normalised_match"}
    elif number == "4" and task == "sot" and where != "ElysiumTrack-1M":
        official = f"{where} AUC" in columns
        wanted = {f"{where} {name}" if official else f"{name} on that set": m for name, m in tracking.items()}
    elif number == "5" and task in ("sot", "rsot") and where not in _PUBLIC:
        wanted = tracking
    elif number == "6" and task == "reg":
        wanted = {"METEOR": "meteor", "CIDEr": "cider"}
    cells = {column: f"{row[m]:.1f}" for column, m in wanted.items() if m in row}
    return {"Task": task.upper(), **cells} if number == "5" and cells else cells


def _group_tables(groups: Rows) -> list[tuple[str, Grid]]:
    titles = {
        "size": "AUC by object size (side relative to the frame's)",
        "motion": "AUC by motion (step between frames relative to the object's side)",
        "frames": "AUC by length (frames)",
    }
    found = []
    for kind, title in titles.items():
        mine = [g for g in groups if g["by"] == kind]
        bins = sorted({(g["from"], g["to"]) for g in mine})
        if not bins:
            continue
        keys = list(dict.fromkeys((g["set"], g["task"], g["method"]) for g in mine))
        cells = {(g["set"], g["task"], g["method"], g["from"]): f"{g['auc']:.1f} (n={g['n']})" for g in mine}
        head = ["set", "task", "method", *(f"{low:g} to {high:g}" for low, high in bins)]
        body = [[k[0], k[1].upper(), NAMES[k[2]], *(cells.get((*k, low), "") for low, _ in bins)] for k in keys]
        found.append((title, [head, *body]))
    return found


def _about(about: Mapping[str, Any]) -> str:
    sets = ", ".join(f"{n}: {s['videos']} videos, {s['items']} objects" for n, s in about["sets"].items()) or "no set"
    preset = f", preset `{about['preset']}`" if about.get("preset") else ""
    return (
        f"Model `{about['model']}`{preset}; {sets}. Figures in percent; in brackets the 95% "
        "bootstrap interval over videos. Averages over sequences, truth is the raw annotation."
    )


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes", "", *(f"- {n}" for n in notes)] if notes else []


def _markdown(grid: Grid) -> str:
    head, *body = grid
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in (head, rule, *body))


def _html_table(grid: Grid) -> str:
    head, *body = grid
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in body)
    return f"<table><tr>{''.join(f'<th>{html.escape(c)}</th>' for c in head)}</tr>{rows}</table>"


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Evaluation report</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }}
table {{ border-collapse: collapse; }} th, td {{ border: 1px solid #bbb; padding: .2em .6em; text-align: right; }}
th:nth-child(-n+3), td:nth-child(-n+3) {{ text-align: left; }} img {{ max-width: 32em; margin: .3em; }}
</style></head><body>
{body}
</body></html>
"""
