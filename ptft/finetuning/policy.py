"""What a fine-tuning policy is: which weights of a pretrained model are trained, from when on and how fast."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel

from ptft.config import Settings
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import LabelledBatches
from ptft.models.classifier import Classifier
from ptft.models.depth import depths
from ptft.objectives.rows import Vocabulary
from ptft.optim.optimizer import Group, parameter_groups
from ptft.training.work import BatchSource


@dataclass(frozen=True)
class Rate:
    """How the weights of one depth are trained.

    Attributes:
        factor: Of the run's learning rate; 0 where they stay as they are.
        epoch: From which epoch on, counted from 0.
    """

    factor: float = 1.0
    epoch: int = 0


TRAINED = Rate()
UNTRAINED = Rate(0.0)


class Policy(Settings, ABC):
    """How a pretrained model is fine-tuned.

    Weights are told apart by their depth (see :func:`ptft.models.depth.depths`): 0 for the embeddings, 1 to L for the
    L layers, L + 1, the top, for the head.
    """

    name: ClassVar[str]
    by_layer: ClassVar[bool] = False
    """Whether layers are treated differently; else there are the body, with depth 0, and the head."""
    needs_lm: ClassVar[bool] = False
    """Whether the checkpoint's language-model head is wanted."""
    mixes_layers: ClassVar[bool] = False
    """Whether the head sees a weighted sum of all layers instead of the last one."""
    trains_embeddings: ClassVar[bool] = True
    """Whether words' embeddings are trained at some time, so that new tokens can be learned."""

    @abstractmethod
    def rate(self, depth: int, top: int) -> Rate:
        """How weights of a depth are trained; a pure function of the depth and the top."""

    def adapt(self, body: PreTrainedModel, seed: int) -> Callable[[], object]:
        """Change a body in place before it is trained; gives what makes it a stock one again when it was."""
        return lambda: None

    def module(self, classifier: Classifier, open_lm: Callable[[], PreTrainedModel]) -> ClassificationModule:
        """What is trained, around an adapted classifier; ``open_lm`` gives the checkpoint's language model."""
        return ClassificationModule(classifier)

    def batches(self, batches: LabelledBatches, vocabulary: Vocabulary, seed: int, *, is_decoder: bool) -> BatchSource:
        """What that is trained on, around the task's batches."""
        return batches

    def groups(
        self,
        module: ClassificationModule,
        new: Collection[str],
        lr: float,
        weight_decay: float,
        first_step: Callable[[int], int],
    ) -> list[Group]:
        """The parameter groups of a module, the head's first; what is never trained takes no gradient any more.

        Args:
            module: Around an adapted classifier.
            new: Names of weights of the classifier's model that were drawn anew, which go with the head; adapters too
                leave them to be trained.
            lr: The run's peak learning rate.
            weight_decay: Of matrices.
            first_step: The step with which an epoch begins.

        Raises:
            RecipeError: The layers of the architecture cannot be told apart.
        """
        model = module.classifier.model
        top = model.config.num_hidden_layers + 1
        depth_by_name = depths(model, by_layer=self.by_layer) | dict.fromkeys(new, top)
        depth = {id(parameter): depth_by_name[name] for name, parameter in model.named_parameters()}
        for name in new:
            model.get_parameter(name).requires_grad_(True)
        by_rate: defaultdict[Rate, list[tuple[str, nn.Parameter]]] = defaultdict(list)
        for name, parameter in module.named_parameters():
            rate = self.rate(depth.get(id(parameter), top), top)
            if rate.factor == 0:
                parameter.requires_grad_(False)
            by_rate[rate].append((name, parameter))
        groups = []
        for rate in sorted(by_rate, key=lambda rate: (rate.epoch, -rate.factor)):
            begins = {"from_step": first_step(rate.epoch)} if rate.epoch else {}
            own = parameter_groups(by_rate[rate], lr * rate.factor, weight_decay)
            groups += [group | begins for group in own]
        return groups

    def note(self, num_layers: int, num_epochs: float) -> str:
        """Say in one line what a training of so many epochs does not come to; empty if it comes to all."""
        top = num_layers + 1
        last = max(self.rate(depth, top).epoch for depth in range(top + 1))
        if last < num_epochs:
            return ""
        return (
            f"policy: {self.name} trains all {num_layers} layers and the embeddings from epoch {last + 1} on, and "
            f"there are {num_epochs:.3g}: the lowest ones stay as they are"
        )


def keeps_features(classifier: Classifier) -> bool:
    """Whether training leaves what the head sees as it is, so that the body needs to run only once."""
    body = classifier.model.base_model.named_parameters()
    return not any(parameter.requires_grad for name, parameter in body if not name.startswith("pooler."))
