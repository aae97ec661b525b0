"""Resumable state on disk: written aside, flushed, renamed; tensors in safetensors, scalars in JSON."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ptft.corpus.watch import sha256
from ptft.display import Display, Silent
from ptft.errors import CheckpointError
from ptft.optim.optimizer import Optimizers
from ptft.sharding import load_state, unshared, whole_state
from ptft.training.aside import discard, is_unwritable, written_aside

_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights.safetensors", "optimizer.safetensors"
_TENSORS = (_WEIGHTS, _OPTIMIZER)
_NO_DIGEST = '"digest": ""'


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizers: Optimizers,
    state: Mapping[str, Any],
    keep: int,
    *,
    writes: bool = True,
) -> Path:
    """Write ``step-XXXXXXXX`` below ``folder`` and delete all but the newest ``keep``.

    Args:
        folder: The run's ``checkpoints``.
        module: Its parameters and buffers are kept.
        optimizers: Their whole state is kept.
        state: Scalars that JSON holds; ``step`` among them.
        keep: How many checkpoints stay.
        writes: Whether this process is the one that writes; the others only give their share of spread weights.

    Returns:
        The folder written.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; older checkpoints are left alone.
    """
    target = folder / f"step-{state['step']:08d}"
    weights, (tensors, scalars) = whole_state(module), optimizers.state()
    if not writes:
        return target
    try:
        with written_aside(target) as partial:
            save_file(weights, partial / _WEIGHTS)
            save_file(tensors, partial / _OPTIMIZER)
            sizes = {name: (partial / name).stat().st_size for name in _TENSORS}
            sums = {name: sha256(partial / name) for name in _TENSORS}
            content = {**state, "optimizer": scalars, "bytes": sizes, "checksums": sums, "digest": ""}
            text = json.dumps(content, indent=1)
            digest = hashlib.sha256(text.encode()).hexdigest()
            (partial / _STATE).write_text(text.replace(_NO_DIGEST, f'"digest": "{digest}"'))
        complete = complete_checkpoints(folder)
        later = [path for path in complete if path > target]  # damaged, or the run would have gone on from it
        for old in [*later, *[path for path in complete if path <= target][:-keep]]:
            discard(old)
    except Exception as error:
        if not is_unwritable(error):
            raise
        raise CheckpointError(f"cannot write the checkpoint {target}: {error}; older checkpoints are intact") from error
    return target


def complete_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below ``folder`` that were finished, oldest first."""
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name))


def kept_precision(folder: Path) -> str:
    """The precision of matrix products with which a run folder's checkpoints were made; empty where there are none."""
    for pattern in ("", "*/"):  # a run of several seeds has folders for them
        for path in sorted(folder.glob(f"{pattern}checkpoints/step-*/{_STATE}"), reverse=True):
            with suppress(OSError, ValueError, AttributeError):
                return str(json.loads(path.read_bytes()).get("precision", ""))
    return ""


def examine(path: Path) -> tuple[dict[str, Any], str]:
    """The scalars of a checkpoint, and in some words how it is damaged: none if it is whole."""
    name = _STATE
    try:
        text = (path / _STATE).read_bytes()
        state: dict[str, Any] = json.loads(text)
        digest: str = state.pop("digest")
        before, _, behind = text.rpartition(digest.encode())
        if hashlib.sha256(before + behind).hexdigest() != digest:
            return {}, f"the checksum of {name} is wrong"
        for name in _TENSORS:
            size, expected = (path / name).stat().st_size, state["bytes"][name]
            if size != expected:
                return {}, f"{name} has {size:,} of {expected:,} bytes"
            if sha256(path / name) != state["checksums"][name]:
                return {}, f"the checksum of {name} is wrong"
    except FileNotFoundError:
        return {}, f"{name} is missing"
    except OSError as error:
        return {}, f"{name} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, f"{name} is no whole JSON"
    return state, ""


def load_newest(
    folder: Path,
    module: nn.Module,
    optimizers: Optimizers,
    *,
    identity: Mapping[str, Any] | None = None,
    display: Display | None = None,
) -> dict[str, Any] | None:
    """Take over the newest checkpoint that is whole.

    Args:
        folder: The run's ``checkpoints``.
        module, optimizers: Take it over.
        identity: What the run is made from now, by its name for people; compared with what it was made from.
        display: Is told of damaged checkpoints.

    Returns:
        Its scalars; None where there is no checkpoint, or no whole one.

    Raises:
        CheckpointError: It is of another model, or of a run of another identity.
    """
    damaged: list[str] = []
    for path in reversed(complete_checkpoints(folder)):
        state, damage = examine(path)
        if damage:
            damaged.append(f"{path} is damaged ({damage})")
            continue
        _say_damaged(damaged, f"{path.name} is taken instead", display)
        _check_identity(folder, state.get("identity", {}), identity or {})
        weights = load_file(path / _WEIGHTS)
        _check_weights(path, weights, unshared(module))
        load_state(module, weights)
        optimizers.load(load_file(path / _OPTIMIZER), state.pop("optimizer"))
        return state
    _say_damaged(damaged, "no other one is whole: training begins anew", display)
    return None


def _say_damaged(damaged: list[str], instead: str, display: Display | None) -> None:
    for sentence in damaged:
        (display or Silent()).say(f"{sentence}; {instead}")


def _check_identity(folder: Path, former: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [
        f"{what} ({_short(former.get(what))} is now {_short(value)})"
        for what, value in now.items()
        if former.get(what) != value
    ]
    if changed:
        raise CheckpointError(
            f"the run of {folder} cannot go on, since what it is made from changed after it began: "
            f"{', '.join(changed)}; bring back what it was, or start over in a new folder with resume=false"
        )


def _short(value: Any) -> str:
    """A value for people; of a hash the beginning is enough."""
    return f"{value[:12]}..." if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32,}", value) else str(value)


def _check_weights(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is unknown to the model" for name in found if name not in expected]
    wrong += [
        f"{name} is {found[name].dtype} {[*found[name].shape]}, not {tensor.dtype} {[*tensor.shape]}"
        for name, tensor in expected.items()
        if name in found and (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype)
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
        raise CheckpointError(
            f"{path} is of another model than this run's ({wrong[0]}{more}); go on with the version of ptft and the "
            "model that it began with, or start over in a new folder with resume=false"
        )
