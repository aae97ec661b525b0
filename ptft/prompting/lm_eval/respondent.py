"""A checkpoint that answers lm_eval's three kinds of requests by protocol ``lm_eval-0.4.13``; needs no lm_eval."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import AutoTokenizer

from ptft.config import Settings, load
from ptft.errors import DataError, RecipeError
from ptft.family import nearest
from ptft.models.building import open_trained, read_config
from ptft.models.classifier import is_decoder_config
from ptft.prompting.decoder import check_decoder
from ptft.prompting.generate import continued
from ptft.prompting.lm_eval.encoding import encode_pairs, encode_texts, max_length, truncated
from ptft.prompting.lm_eval.rolling import rolling_requests
from ptft.prompting.scoring import score_requests
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first one given counts
_GENERATION = (*_LENGTHS, "until", "do_sample", "temperature", "top_p")
_NEW_TOKENS = 256  # lm_eval's own default


class ModelArguments(Settings):
    """Run lm-eval's own command line, of lm_eval 0.4.13, on a model of ours; the arguments are its own.

    Such as: ptft lm_eval --model_args pretrained=runs/gpt --tasks lambada_openai --limit 10. It needs `pip install
    "ptft[bench]"`; `ptft lm_eval run -h` shows its help, `ptft lm_eval ls tasks` its tasks. Where neither --model nor
    --config is given, the model is ptft; a file of --config names it itself.

    Numbers are those of --model hf in fp32. A masked model, which hf cannot score, is scored by pseudo-log-likelihood.
    One process does all; --batch_size has no effect, since batches are made by tokens.

    The settings below are the keys of --model_args.
    """

    pretrained: str
    """The model: a checkpoint folder, a run folder or a Hub name."""
    tokenizer: str = ""
    """Another tokenizer than the one beside the model."""
    add_bos_token: Literal["auto"] | bool = "auto"
    """Put special tokens before each text, or none; auto leaves it to the tokenizer."""
    max_length: int = Field(0, ge=0)
    """The longest input in tokens; 0 takes the model's positions."""
    device: str = ""
    """Where to compute, such as cpu or cuda:0; empty, or a GPU that is not there, takes what there is."""
    method: Literal["within_word_l2r", "original"] = "within_word_l2r"
    """Of a masked model: a token is predicted with itself and the later tokens of its word hidden, or itself only."""


class Respondent:
    """A model, its tokenizer, and answers to requests as lm_eval's ``HFLM`` gives them.

    Args:
        arguments: What to open, and how to read texts.

    Raises:
        CheckpointError: It cannot be opened, has no language-modelling head, or does not go with its tokenizer.
        RecipeError: An argument is unknown or out of range.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        settings = load(ModelArguments, base=arguments, base_origin="--model_args").settings
        self.settings = settings
        self.is_masked = not is_decoder_config(read_config(settings.pretrained))
        folder = tokenizer_folder(settings.tokenizer or settings.pretrained)
        self.tokenizer = load_tokenizer(folder)
        if settings.add_bos_token != "auto":
            self.tokenizer = AutoTokenizer.from_pretrained(folder, add_bos_token=settings.add_bos_token)
        self._add_bos = None if settings.add_bos_token == "auto" else settings.add_bos_token
        self.model = open_trained(settings.pretrained, "masked_lm" if self.is_masked else "causal_lm")
        self.model.eval()
        check_pair(self.tokenizer, self.model.config)
        self.device = _device(settings.device)
        self.model.to(self.device)  # type: ignore[arg-type]
        if not self.is_masked:
            check_decoder(self.model, self.tokenizer)
        self.max_length = settings.max_length or max_length(self.model, self.tokenizer)

    def loglikelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """How probable each continuation is after its context, and whether greedy decoding would write it.

        Raises:
            DataError: A pair leaves no token to score, or no room for it.
        """
        if self.is_masked:
            return self._pseudo(pairs)
        requests = encode_pairs(self.tokenizer, pairs, add_bos=self._add_bos)
        seen = [truncated(request, self.max_length) for request in requests]
        return [(scored.log_likelihood, scored.is_greedy) for scored in score_requests(self.model, seen)]

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """How probable each text is, whatever its length.

        Raises:
            DataError: The tokenizer has no token to begin with.
        """
        if self.is_masked:
            return [score for score, _ in self._pseudo([("", text) for text in texts])]
        windows = [rolling_requests(self.tokenizer, text, self.max_length, add_bos=self._add_bos) for text in texts]
        scored = iter(score_requests(self.model, [window for part in windows for window in part]))
        return [sum(next(scored).log_likelihood for _ in part) for part in windows]

    def generated(self, prompts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """What the model writes after each prompt; a draw is a function of the prompt's number.

        A prompt too long loses its beginning, so that there is room for as many tokens as are asked for.

        Raises:
            RecipeError: The model is a masked one, or a setting of a prompt is unknown or out of range.
            DataError: There is no room.
        """
        if self.is_masked:
            raise RecipeError(
                f"pretrained: {self.settings.pretrained!r} is a masked model, which writes no text; take tasks that "
                "score given answers"
            )
        ids = encode_texts(self.tokenizer, [prompt for prompt, _ in prompts], add_bos=self._add_bos)
        return [self._written(ids[prompt], settings, seed) for seed, (prompt, settings) in enumerate(prompts)]

    def _written(self, prompt_ids: tuple[int, ...], settings: Mapping[str, Any], seed: int) -> str:
        for name in settings:
            if name not in _GENERATION:
                raise RecipeError(f"generation: unknown setting {name!r}{nearest(name, _GENERATION)}")
        size = int(next((settings[name] for name in _LENGTHS if settings.get(name) is not None), _NEW_TOKENS))
        room = self.max_length - size
        if room < 1:
            raise DataError(
                f"{size} tokens are to be written and the model has {self.max_length} positions, where lm_eval 0.4.13 "
                "fails; ask for fewer, such as --gen_kwargs max_gen_toks=32"
            )
        if not prompt_ids:
            raise DataError("a prompt has no token to write after; give it text, or a tokenizer that adds a bos_token")
        until = settings.get("until") or []
        return continued(
            self.model,
            self.tokenizer,
            list(prompt_ids[-room:]),
            max_new_tokens=size,
            temperature=0.0 if settings.get("do_sample") is False else float(settings.get("temperature") or 0.0),
            top_p=float(settings.get("top_p") or 1.0),
            seed=seed,
            stop=[text for text in ([until] if isinstance(until, str) else until) if text],
        )

    def _pseudo(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        from ptft.prompting.masked import pseudo_loglikelihoods

        scored = pseudo_loglikelihoods(self.model, self.tokenizer, pairs, method=self.settings.method)
        return [(one.log_likelihood, one.is_greedy) for one in scored]


def _device(name: str) -> torch.device:
    # lm_eval's command line says cuda:0 unless told otherwise, also where there is none.
    has_cuda = torch.cuda.is_available()
    if not name or (name.startswith("cuda") and not has_cuda):
        return torch.device("cuda" if has_cuda else "cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise RecipeError(f"device: {name!r} is no device; give cpu or cuda:0, or leave it out") from None
