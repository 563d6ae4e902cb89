"""The folders of an export: `export/<number>/`, each a SavedModel that holds its own spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feature_specs.errors import ColonnadeError
from feature_specs.spec import FeatureSpec

SPEC_FILE = Path("assets.extra") / "spec.json"
INDEX_FILE = Path("assets.extra") / "items.faiss"


def numbered(export_base: Path) -> list[int]:
    """Returns the numbers taken in `export_base`, lowest first."""
    names = [path.name for path in export_base.iterdir()] if export_base.is_dir() else []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


def find_version(export_dir: str | Path) -> Path:
    """Returns the latest version in `export_dir`, or `export_dir` where it is a version itself.

    Raises:
        ColonnadeError: It is neither.
    """
    path = Path(export_dir)
    if (path / "saved_model.pb").is_file():
        return path
    found = [number for number in numbered(path) if (path / str(number) / "saved_model.pb").is_file()]
    if not found:
        what = "has no exported version" if path.is_dir() else "does not exist"
        inside = path / "export"
        advice = f"Did you mean {str(inside)!r}?" if inside.is_dir() else "A finished run has them in RUN_DIR/export."
        raise ColonnadeError(f"Export folder {str(path)!r} {what}. {advice}")
    return path / str(found[-1])


def load_spec(version: Path) -> FeatureSpec:
    """Returns the spec that the exporter wrote into a version.

    Raises:
        ColonnadeError: There is none, or it is broken.
    """
    path = version / SPEC_FILE
    if not path.is_file():
        raise ColonnadeError(
            f"Export {str(version)!r} has no {SPEC_FILE}, so its inputs are unknown. Export it again with this package; of an export of "
            "feature columns call the signatures themselves."
        )
    return FeatureSpec.load(path)


def load_model(version: Path) -> Any:  # noqa: ANN401 (TensorFlow gives what it restores no type)
    """Loads an exported version.

    Raises:
        ColonnadeError: It is broken.
    """
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(version))
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:  # IndexError: the variables are cut off
        raise _broken(version, error) from error


def table_dtype(version: Path) -> str:
    """Returns what a version stores embedding tables in: "float32", "bfloat16" or "int8".

    Raises:
        ColonnadeError: The version is broken.
    """
    import tensorflow as tf

    try:
        types = tf.train.load_checkpoint(str(version / "variables" / "variables")).get_variable_to_dtype_map()
    except (OSError, ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise _broken(version, error) from error
    found = {kind.name for name, kind in types.items() if name.startswith("model_variables/")}
    return next((dtype for dtype in ("int8", "bfloat16") if dtype in found), "float32")


def _broken(version: Path, error: Exception) -> ColonnadeError:
    problem = " ".join(str(error).split()).rstrip(".")
    return ColonnadeError(f"Export {str(version)!r} cannot be loaded: {problem}. Copy it again, or export again.")


def output_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Returns what the scores of the spec's task are called."""
    return ("predictions",) if spec.label.task == "regression" else ("logits", "probabilities")
