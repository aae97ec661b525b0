r"""Prompting: classify with 0..k examples in the context of a causal model, score continuations, write and score texts.

A zero- and few-shot evaluation in ten lines::

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptft.prompting import Template, evaluate_prompts
    from ptft.tasks import TASKS

    model = AutoModelForCausalLM.from_pretrained("runs/gpt/model")
    tokenizer = AutoTokenizer.from_pretrained("runs/gpt/model")
    template = Template("Review: {text}\nSentiment:", words={"negative": "bad", "positive": "good"})
    result = evaluate_prompts(
        model, tokenizer, TASKS["polarity"]().data(seed=0), k=[0, 1, 4], seeds=[1, 2, 3], template=template
    )
    result.figures  # accuracy with interval for each k, and the majority baseline
"""

from ptft.prompting.cloze import ClozeTemplate, cloze_loglikelihoods
from ptft.prompting.evaluate import PromptResult, evaluate_prompts
from ptft.prompting.generate import generate
from ptft.prompting.generation import GenerationResult, evaluate_generation
from ptft.prompting.masked import pseudo_loglikelihoods
from ptft.prompting.minimal_pairs import evaluate_minimal_pairs
from ptft.prompting.perplexity import PerplexityResult, evaluate_perplexity
from ptft.prompting.records import read_records
from ptft.prompting.request import Scored
from ptft.prompting.results import summarise
from ptft.prompting.scoring import loglikelihoods
from ptft.prompting.shots import choose_shots
from ptft.prompting.template import Template, default_template

__all__ = [
    "ClozeTemplate",
    "GenerationResult",
    "PerplexityResult",
    "PromptResult",
    "Scored",
    "Template",
    "choose_shots",
    "cloze_loglikelihoods",
    "default_template",
    "evaluate_generation",
    "evaluate_minimal_pairs",
    "evaluate_perplexity",
    "evaluate_prompts",
    "generate",
    "loglikelihoods",
    "pseudo_loglikelihoods",
    "read_records",
    "summarise",
]
