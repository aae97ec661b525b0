"""The verb ``generate``: a decoder continues a text."""

from typing import ClassVar

from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.actions.action import Action
from ptft.display import Display
from ptft.models.building import open_trained, read_config
from ptft.prompting.decoder import check_decoder
from ptft.prompting.generate import generate
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder


class Generate(Action):
    """Continue a text with a decoder: greedily, or by sampling that depends on the seed alone."""

    name: ClassVar[str] = "generate"
    model: str
    """The decoder: a checkpoint folder, a run folder or a Hub name."""
    text: str = ""
    """What to continue; empty starts a new document."""
    max_new_tokens: int = Field(50, ge=1)
    """At most so many tokens."""
    temperature: float = Field(0.0, ge=0)
    """0 takes the most probable token each time; 1 samples from the model's own probabilities."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample among the most probable tokens that together have this probability."""
    seed: int = Field(0, ge=0)
    """Of the sampling."""
    stop: tuple[str, ...] = ()
    """End before any of these texts."""

    def check(self) -> None:
        """The model is a decoder."""
        self._opened()

    def _opened(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        config = read_config(self.model)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        check_pair(tokenizer, config)
        model = open_trained(self.model, "causal_lm")
        check_decoder(model, tokenizer)
        return model, tokenizer

    def do(self, display: Display) -> str:
        """The text and its continuation."""
        model, tokenizer = self._opened()
        return self.text + generate(
            model, tokenizer, self.text, max_new_tokens=self.max_new_tokens, temperature=self.temperature,
            top_p=self.top_p, seed=self.seed, stop=self.stop,
        )  # fmt: skip
