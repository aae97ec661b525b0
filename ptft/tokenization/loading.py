"""Open a stock tokenizer, name its content by a hash, and check that it belongs to a model."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from ptft.corpus.files import exists, near_name
from ptft.errors import CheckpointError, RecipeError

MASK = "<|mask|>"
"""The mask token of a tokenizer that had none."""


def no_checkpoint(name: str | Path, what: str, error: Exception) -> CheckpointError:
    """Say why a name gives no model or tokenizer: a mistyped folder, a file, or what the library said."""
    name, path = str(name), Path(name)
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(": ")
    if not exists(path):
        return CheckpointError(
            f"there is no folder {name!r}{near_name(path)}, and no {what} of that name can be had from the Hub "
            f"({reason}); check the name, or the network"
        )
    if path.is_file():
        return CheckpointError(f"{name!r} is a file; give the folder of a {what}, a run folder or a Hub name")
    return CheckpointError(
        f"{name!r} holds no {what} that transformers can open ({reason}); give the folder of a {what}, a run folder or "
        "a Hub name"
    )


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer of a folder or Hub name, without the padding and truncation that some files fix.

    Raises:
        CheckpointError: Nothing there can be opened as a fast tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name))
    except Exception as error:  # for a damaged file, tokenizers raises no narrower class
        raise no_checkpoint(name, "tokenizer", error) from None
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # made from the model's configuration alone
        raise no_checkpoint(name, "tokenizer", ValueError("it has no vocabulary"))
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


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A SHA-256 of everything that decides which ids a text gets, as 64 hexadecimal digits."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    del content["padding"], content["truncation"]  # a call with padding=True leaves its wish behind
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def add_tokens(tokenizer: PreTrainedTokenizerBase, ordinary: Sequence[str], special: Sequence[str]) -> None:
    """Put new tokens behind a tokenizer's own ones.

    Args:
        tokenizer: Is changed.
        ordinary: Texts that become one token wherever they stand, inside a word too.
        special: Marks that are never masked, and that a decoded text can leave out.

    Raises:
        RecipeError: A token is empty, given twice, or in the vocabulary already.
    """
    known = tokenizer.get_vocab()
    for key, tokens in (("added_tokens", ordinary), ("added_special_tokens", special)):
        for token in tokens:
            if not token.strip() or token in known:
                what = "is in the vocabulary already" if token in known else "is empty"
                raise RecipeError(f"{key}: {token!r} {what}; leave it out")
            known[token] = len(known)
    tokenizer.add_tokens([AddedToken(token) for token in ordinary])
    marks = [AddedToken(token, special=True, normalized=False) for token in special]
    tokenizer.add_special_tokens({"extra_special_tokens": marks}, replace_extra_special_tokens=False)


def add_mask_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer that has no mask token one, behind its other tokens."""
    if tokenizer.mask_token_id is None:
        tokenizer.add_special_tokens({"mask_token": AddedToken(MASK, special=True, normalized=False)})


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


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, own: PreTrainedTokenizerBase, model: str) -> None:
    """Refuse a tokenizer that numbers tokens otherwise than ``own``, the one that a model was pretrained with.

    Tokens behind the own ones may be new.

    Raises:
        CheckpointError: An id stands for another token.
    """
    known = own.get_vocab()
    others = sum(known.get(token) != number for token, number in tokenizer.get_vocab().items() if number < len(own))
    if others:
        raise CheckpointError(
            f"tokenizer: {others} of its ids stand for other tokens than in the vocabulary that {model!r} was "
            "pretrained with; leave tokenizer out, or train new weights with init=scratch"
        )
