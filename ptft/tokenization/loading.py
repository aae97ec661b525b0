"""Open a stock tokenizer, name its content by a hash, and check that it belongs to a model."""

import hashlib
from pathlib import Path

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from ptft.errors import CheckpointError


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a folder or Hub name, without the padding and truncation that some files fix.

    Raises:
        CheckpointError: Nothing there can be opened as a fast tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{str(name)!r} holds no tokenizer that transformers can open ({_first_line(error)}); give a folder with "
            "tokenizer.json or a Hub name"
        ) from None
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(f"{str(name)!r} has a tokenizer without tokenizer.json; save it in the fast format first")
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return tokenizer


def tokenizer_folder(name: str) -> str:
    """Where the tokenizer of a folder lies: in a run folder in its ``model`` or ``tokenizer``, else there itself."""
    if (Path(name) / "tokenizer_config.json").exists():
        return name
    inner = (Path(name) / part for part in ("model", "tokenizer"))
    return next((str(folder) for folder in inner if (folder / "tokenizer_config.json").exists()), name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A SHA-256 of everything that decides which ids a text gets, as 64 hexadecimal digits."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def check_pair(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Refuse a tokenizer that can produce ids for which the model has no embedding.

    Raises:
        CheckpointError: The vocabulary is larger than the model's.
    """
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens but the model has embeddings for {config.vocab_size}; "
            "use the tokenizer that the model was pretrained with"
        )
