"""ptft as a model of lm_eval 0.4.13, and lm_eval's command line with it: the only file that imports lm_eval."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ptft.compute import num_processes
from ptft.errors import DeviceError, RecipeError
from ptft.prompting.lm_eval.respondent import Respondent

SUPPORTED = "0.4.13"
"""The version whose protocol this is."""
NAME = "ptft"
"""What lm_eval calls the model."""
_OTHER_VERBS = ("ls", "validate")
_NO_CHAT = (
    "--apply_chat_template: protocol lm_eval-0.4.13 of ptft knows no chat templates; leave it out, or give --model hf"
)
_CHOOSING = ("--model", "-M", "--config", "-C")


def check_installed() -> None:
    """Refuse to go on without lm_eval in the version that is supported.

    Raises:
        DeviceError: It is not installed, or in another version.
    """
    remedy = f'pip install "ptft[bench]", or lm_eval=={SUPPORTED}'
    try:
        found = version("lm_eval")
    except PackageNotFoundError:
        raise DeviceError(f"lm_eval is not installed; {remedy}") from None
    if found != SUPPORTED:
        raise DeviceError(f"lm_eval is installed in version {found}; supported is {SUPPORTED}: {remedy}")


def model_class() -> type[Any]:
    """The class that lm_eval makes of ``--model ptft``; its numbers are :class:`Respondent`'s.

    lm_eval's own scheme of several processes is not followed: rank is 0 of 1, and ``batch_size`` has no effect.
    """
    from lm_eval.api.model import LM

    class Ptft(LM):  # type: ignore[misc]
        """A checkpoint scored by ptft."""

        def __init__(
            self, batch_size: int | str | None = None, max_batch_size: int | None = None, **arguments: Any
        ) -> None:
            super().__init__()
            self.respondent = Respondent(arguments)
            self.tokenizer = self.respondent.tokenizer
            self.max_length = self.respondent.max_length
            self._device = self.respondent.device

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            """Of (context, continuation) requests."""
            return self.respondent.loglikelihoods([request.args for request in requests])

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            """Of (text,) requests."""
            return self.respondent.rolling([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            """Of (prompt, settings) requests."""
            return self.respondent.generated([request.args for request in requests])

        def chat_template(self, chat_template: bool | str = False) -> str | None:
            """None is known."""
            raise RecipeError(_NO_CHAT)

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            """None is known."""
            raise RecipeError(_NO_CHAT)

    return Ptft


def register() -> None:
    """Make ``--model ptft`` known to lm_eval in this process; a second time changes nothing.

    Raises:
        DeviceError: See :func:`check_installed`.
    """
    check_installed()
    from lm_eval.api.registry import model_registry

    import_module("lm_eval.models")  # its own, which it does not look for once the registry holds one
    if NAME not in model_registry:
        model_registry.register(NAME, target=model_class())


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line of lm_eval, with ptft as the model where none is chosen; returns its exit code.

    Raises:
        DeviceError: See :func:`check_installed`.
        RecipeError: A launcher started several processes.
        UserError: The model cannot be opened or used.
    """
    if num_processes() > 1:
        raise RecipeError("lm_eval: runs in one process; start it without a launcher, such as accelerate launch")
    register()
    from lm_eval.__main__ import cli_evaluate

    with _command_line(with_model(arguments)):
        try:
            cli_evaluate()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def with_model(arguments: Sequence[str]) -> list[str]:
    """Add ``--model ptft`` to arguments that run an evaluation and choose no model themselves."""
    chosen = any(argument.split("=")[0] in _CHOOSING or argument[:2] in ("-M", "-C") for argument in arguments)
    if chosen or not arguments or arguments[0] in _OTHER_VERBS or list(arguments) == ["run"]:
        return list(arguments)
    return [*arguments, "--model", NAME]


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """lm_eval reads the process's own arguments."""
    before = sys.argv
    sys.argv = ["ptft lm_eval", *arguments]
    try:
        yield
    finally:
        sys.argv = before
