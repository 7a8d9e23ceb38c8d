"""conf/ -> params.yaml: the one place where Hydra is used."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from elysium.config import Params, check_params
from elysium.errors import UserError


def compose_config(overrides: Sequence[str], conf: Path = Path("conf")) -> DictConfig:
    """The resolved configuration of `conf/config.yaml` with Hydra overrides such as `preset=tiny train.warmup.lr=1e-3`.

    Raises UserError, in one line, on an override, preset or value that does not fit `elysium.config.Params`.
    """
    if not (conf / "config.yaml").is_file():
        raise UserError(f"{conf / 'config.yaml'}: no such file; run this in the project's folder")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            config = compose("config", list(overrides))
        OmegaConf.resolve(config)
        check_params(OmegaConf.to_container(config))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        given = " ".join(overrides) or "no overrides"
        raise UserError(f"{conf}: {_one_line(error)} (given: {given})") from error
    return config


def write_params(overrides: Sequence[str], path: Path = Path("params.yaml"), conf: Path = Path("conf")) -> Params:
    """Compose and write `path` by an atomic rename; a file that already says the same is left untouched."""
    config = compose_config(overrides, conf)
    text = OmegaConf.to_yaml(config)
    if not path.is_file() or path.read_text() != text:
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(path)
    return check_params(OmegaConf.to_container(config))


def _one_line(error: Exception) -> str:
    """Hydra spreads a message over several lines and keeps the reason in the cause: both on one line."""
    text = str(error).split("Config search path:")[0]
    if error.__cause__ is not None and str(error.__cause__) not in text:
        text += "\n" + str(error.__cause__).splitlines()[0]
    return re.sub(r"[.,:]?\n\s*", lambda m: ": " if m[0].startswith(":") else ", ", text.strip())
