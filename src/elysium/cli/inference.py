"""Commands that ask the model about a video."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from elysium.boxes import Box
from elysium.cli.arguments import model_argument, open_engine
from elysium.errors import UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`track`, `describe`, `ask` and `app`."""
    video = "mp4, avi, webm, gif, ... or a folder of pictures"

    add = commands.add_parser("track", help="find and follow objects through a video")
    add.add_argument("video", metavar="VIDEO", help=f"{video}; - reads paths from stdin, one a line")
    add.add_argument(
        "--find", metavar="TEXT", action="append", default=[], help='an expression, such as "red ball"; may be repeated'
    )
    add.add_argument(
        "--box", type=_box, action="append", default=[],
        help="x1,y1,x2,y2 in the first frame, each in [0, 1]; may be repeated",
    )  # fmt: skip
    add.add_argument("--json", type=Path, metavar="OUT", help="write the boxes here (several videos: one line each)")
    add.add_argument(
        "--render", type=Path, metavar="OUT.mp4", help="write the video with its boxes here, mp4 or gif; a folder for -"
    )
    add.set_defaults(run=_track)
    model_argument(add)

    add = commands.add_parser("describe", help="name the object in a box")
    add.add_argument("video", type=Path, metavar="VIDEO", help=video)
    add.add_argument("--box", type=_box, required=True, help="x1,y1,x2,y2, each in [0, 1]")
    add.add_argument("--frame", type=int, default=0, help="the frame the box belongs to, from 0 (default 0)")
    add.set_defaults(run=_describe)
    model_argument(add)

    add = commands.add_parser("ask", help="ask a question about a video")
    add.add_argument("video", type=Path, metavar="VIDEO", help=video)
    add.add_argument("question")
    add.set_defaults(run=_ask)
    model_argument(add)

    add = commands.add_parser("app", help="open the web page")
    add.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this machine only")
    add.add_argument("--port", type=int, default=7860, help="default 7860")
    add.set_defaults(run=_app)
    model_argument(add)


def _box(text: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(value) for value in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not x1,y1,x2,y2") from error
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise argparse.ArgumentTypeError(f"{text!r}: needs 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1")
    return (x1, y1, x2, y2)


def _track(arguments: argparse.Namespace) -> None:
    if not arguments.find and not arguments.box:
        raise UserError("one of the arguments --find --box is required; see `elysium track --help`")
    from elysium.data.video import probe
    from elysium.inference import commands

    queries = [commands.make_query(text, None) for text in arguments.find]
    queries += [commands.make_query(None, box) for box in arguments.box]
    several = arguments.video == "-"
    commands.check_render(arguments.render, several)
    videos: Iterator[Path]
    if several:
        videos = (Path(line.strip()) for line in sys.stdin if line.strip())
    else:
        probe(arguments.video)  # before the model is loaded
        videos = iter([Path(arguments.video)])
    commands.track_command(open_engine(arguments), videos, queries, arguments.json, arguments.render, several)


def _describe(arguments: argparse.Namespace) -> None:
    from elysium.data.video import probe
    from elysium.inference import commands

    probe(arguments.video)
    print(commands.describe(open_engine(arguments), arguments.video, arguments.box, arguments.frame))


def _ask(arguments: argparse.Namespace) -> None:
    from elysium.data.video import probe
    from elysium.inference import commands

    commands.check_text(arguments.question, "question")
    probe(arguments.video)
    print(commands.ask(open_engine(arguments), arguments.video, arguments.question))


def _app(arguments: argparse.Namespace) -> None:
    from elysium.app import page

    page.serve(open_engine(arguments), arguments.host, arguments.port)
