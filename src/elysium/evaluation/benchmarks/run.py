"""`elysium evaluate NAME --in DIR --out DIR`: a model on a public benchmark, or stored predictions scored again.

Everything stands in `OUT/NAME/`: `results/` in the official raw formats, `predictions/` as JSON lines, the tables, the
plots and the hardest sequences drawn. What has been predicted is not predicted again, so a killed run goes on and a
finished one is scored anew without a model; several processes share the work by `--shard`.
"""

from collections.abc import Mapping
from pathlib import Path

from elysium.errors import UserError
from elysium.evaluation import benchmarks
from elysium.evaluation.benchmarks import results
from elysium.evaluation.benchmarks.answer import answer
from elysium.evaluation.benchmarks.common import Model, OpenModel, Options
from elysium.evaluation.benchmarks.refer import refer
from elysium.evaluation.benchmarks.track import track
from elysium.evaluation.score import Rows

__all__ = ["Model", "OpenModel", "Options", "evaluate"]


def evaluate(
    name: str, root: Path, out: Path, open_model: OpenModel, model: Mapping[str, str], options: Options
) -> Rows:
    """Predict what is missing and score everything; returns the rows of the tables.

    `model` says which model `open_model` opens (its folder and hash). Raises UserError on an unknown name, a malformed
    data set, or results in `out` that another model made.
    """
    if name not in benchmarks.NAMES:
        raise UserError(f"{name}: no such benchmark; choose from {', '.join(benchmarks.NAMES)}")
    k, n = options.shard
    if not 0 <= k < n:
        raise UserError(f"shard {k + 1}/{n}: write K/N with K from 1 to N")
    if options.predictions is None:
        results.claim(out / name / "made_from.json", {"benchmark": name, "model_hash": model.get("model_hash", "")})
    if name in benchmarks.TRACKING:
        return track(name, root, out / name, open_model, model, options)
    if name in benchmarks.REFERRING:
        return refer(name, root, out / name, open_model, model, options)
    return answer(name, root, out / name, open_model, model, options)
