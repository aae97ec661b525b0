"""Questions on their way to a model and back: which ids are scored for each, and what is recorded of the answers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.errors import DataError
from ptft.models.building import max_positions
from ptft.prompting.cloze import encode_gaps
from ptft.prompting.decoder import num_positions
from ptft.prompting.masked import score_masked
from ptft.prompting.method import Asked, Method
from ptft.prompting.protocol import PTFT, Protocol
from ptft.prompting.questions import Questions, Shown
from ptft.prompting.records import ChoiceRecord, short_hash
from ptft.prompting.request import Scored
from ptft.prompting.scoring import score_requests

Gap = tuple[str, str, str]
"""Text before, text behind, and what is scored between them."""
_QUESTIONS_AT_ONCE = 32  # are turned into ids
_TOKENS_AT_ONCE = 4_000_000  # wait to be scored together


@dataclass(frozen=True)
class Fitted:
    """A question that fits into the model, and what is to be scored for it.

    Args:
        index: Its number.
        asked: The question.
        requests: Its choices, then what methods want.
        wanted: For each method so many requests a choice, in this order.
    """

    index: int
    asked: Asked
    requests: list[Any]
    wanted: dict[str, int]


@dataclass(frozen=True)
class Asker:
    """Asks one model the questions of one test set in one form.

    Args:
        model: Its positions are the room for prompts.
        tokenizer: The model's.
        rules: How texts become ids.
        questions: What is asked.
        scorers: The methods that want something scored beside.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rules: Protocol
    questions: Questions
    scorers: Sequence[Method]

    def batches(self, numbers: Sequence[int], shown: Sequence[Shown]) -> Iterator[list[tuple[Shown, Fitted]]]:
        """The questions of some numbers in all ways, as many at once as memory has room for: they share beginnings.

        Raises:
            DataError: A question does not fit into the model's positions even without shots.
        """
        waiting: list[tuple[Shown, Fitted]] = []
        for start in range(0, len(numbers), _QUESTIONS_AT_ONCE):
            some = numbers[start : start + _QUESTIONS_AT_ONCE]
            for one in shown:
                waiting += [(one, fitted) for fitted in self._fitted(some, one)]
            # The choices of a question share its context.
            if sum(self.length(fitted.requests[0]) for _, fitted in waiting) > _TOKENS_AT_ONCE:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    @property
    def room(self) -> int:
        """How long a request may be."""
        return num_positions(self.model)

    def length(self, request: Any) -> int:
        """Positions that a request takes."""
        return int(request.num_inputs)

    def encoded(self, gaps: Sequence[Gap]) -> list[Any]:
        """The ids of contexts and continuations."""
        pairs = [(before, continuation) for before, _, continuation in gaps]
        requests: list[Any] = [*self.rules.fit(self.model, self.tokenizer, self.rules.encode(self.tokenizer, pairs))]
        return requests

    def scored(self, requests: Sequence[Any], compute: Compute | None, say: Callable[[str], None]) -> list[Scored]:
        """What the model makes of requests."""
        return score_requests(self.model, requests, compute=compute, say=say)

    def _fitted(self, numbers: Sequence[int], shown: Shown) -> list[Fitted]:
        """Some questions, each with as many shots as fit, or cut as the protocol says."""
        fitted: dict[int, Fitted] = {}
        left = list(numbers)
        for k in range(shown.k, -1, -1):
            made = self._encoded(left, Shown(k, shown.seed, shown.order))
            lengths = [max(map(self.length, one.requests)) for one in made]
            fitted |= {one.index: one for one, length in zip(made, lengths, strict=True) if length <= self.room}
            left = [number for number in left if number not in fitted]
            if not left:
                return [fitted[number] for number in numbers]
        raise DataError(
            f"{len(left)} of {len(numbers)} documents of {self.questions.name!r} do not fit into the model's "
            f"{self.room} positions even without shots (the longest has {max(lengths)} tokens); use "
            "shorter texts or a model with more positions"
        )

    def _encoded(self, numbers: Sequence[int], shown: Shown) -> list[Fitted]:
        gaps: list[Gap] = []
        parts: list[tuple[int, Asked, int, dict[str, int]]] = []
        for number, asked in zip(numbers, self.questions.ask(numbers, shown), strict=True):
            before = len(gaps)
            gaps += [(asked.item.context, asked.item.after, choice) for choice in asked.item.choices]
            wanted: dict[str, int] = {}
            for scorer in self.scorers:
                for wants in scorer.wants(asked):
                    wanted[scorer.name] = len(wants)
                    gaps += [(context, "", continuation) for context, continuation in wants]
            parts.append((number, asked, len(gaps) - before, wanted))
        requests = iter(self.encoded(gaps))
        return [Fitted(number, asked, list(islice(requests, size)), wanted) for number, asked, size, wanted in parts]

    def answered(
        self, batch: Sequence[tuple[Shown, Fitted]], compute: Compute | None, say: Callable[[str], None]
    ) -> Iterator[tuple[Shown, list[ChoiceRecord]]]:
        """What is recorded of the questions of a batch, which the model is asked together."""
        requests = [request for _, fitted in batch for request in fitted.requests]
        scored = iter(self.scored(requests, compute, say))
        for shown, fitted in batch:
            yield shown, self._recorded(shown, fitted, scored)

    def _recorded(self, shown: Shown, fitted: Fitted, scored: Iterator[Scored]) -> list[ChoiceRecord]:
        """What is recorded of a question's choices; takes its answers from ``scored``."""
        asked, item, example = fitted.asked, fitted.asked.item, fitted.asked.example
        answers = list(islice(scored, len(item.choices)))
        references = {
            name: [[one.log_likelihood for one in islice(scored, size)] for _ in item.choices]
            for name, size in fitted.wanted.items()
        }
        shots = [short_hash(shot.text, shot.text_b, str(shot.label)) for shot in asked.shots]
        # lm_eval leaves out the delimiter alone.
        texts = [choice.strip() if self.rules is PTFT else choice.removeprefix(" ") for choice in item.choices]
        return [
            ChoiceRecord(
                task=self.questions.name,
                template=self.questions.template,
                protocol=self.rules.name,
                k=shown.k,
                seed=shown.seed,
                order=shown.order,
                index=fitted.index,
                choice=asked.labels[place] if asked.labels else text,
                is_gold=place == item.gold,
                log_likelihood=answer.log_likelihood,
                is_greedy=answer.is_greedy,
                characters=len(text),
                bytes=len(text.encode()),
                continuation_ids=list(answer.continuation_ids),
                context_tokens=len(answer.context_ids),
                shots=shots or ["own"] * item.shots,
                prompt=short_hash(item.context),
                document=short_hash(item.context) if example is None else short_hash(example.text, example.text_b),
                references={name: values[place] for name, values in references.items()},
            )
            for place, (text, answer) in enumerate(zip(texts, answers, strict=True))
        ]


class MaskedAsker(Asker):
    """Asks a masked model, which fills a gap and sees what stands behind it."""

    @property
    def room(self) -> int:
        """How long a row may be."""
        return max_positions(self.model.config)

    def length(self, request: Any) -> int:
        """Positions that a row takes."""
        return len(request.ids)

    def encoded(self, gaps: Sequence[Gap]) -> list[Any]:
        """The ids of texts with a gap and of what fills it."""
        requests: list[Any] = [*encode_gaps(self.tokenizer, gaps)]
        return requests

    def scored(self, requests: Sequence[Any], compute: Compute | None, say: Callable[[str], None]) -> list[Scored]:
        """What the model makes of rows; each process scores all of them."""
        return score_masked(self.model, self.tokenizer, requests)
