"""What objectives that mask tokens share: their settings, and the masking of rows."""

from typing import Annotated, ClassVar

from pydantic import Field

from ptft.config import Choice
from ptft.errors import RecipeError
from ptft.objectives.masking import Masked, Selection, mask_tokens
from ptft.objectives.objective import Objective
from ptft.objectives.policies import POLICIES
from ptft.objectives.policies.policy import MaskingPolicy
from ptft.objectives.policies.token import Token
from ptft.objectives.rows import Rows, Vocabulary


class MaskingObjective(Objective):
    """An objective that hides tokens of its rows and predicts them."""

    needs_mask_token: ClassVar[bool] = True
    policy: Annotated[MaskingPolicy, Choice(POLICIES)] = Token()
    """What is masked together: single tokens, whole words or spans of words."""
    selection: Selection = "exact"
    """Whether each row has its share of predictions exactly, or each token is drawn with that probability."""
    mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share of a row's tokens that are predicted."""
    final_mask_ratio: float = Field(0.0, ge=0, lt=1)
    """Share at the end of training, to which it moves in a straight line; 0 keeps it."""
    evaluation_mask_ratio: float = Field(0.15, gt=0, lt=1)
    """Share in held-out rows, whose masks are always the same."""
    max_predictions: int = Field(0, ge=0)
    """At most so many predictions a row; 0 for no limit."""
    replace_ratio: float = Field(0.8, ge=0, le=1)
    """Share of the predicted tokens that the model sees as the mask token."""
    random_ratio: float = Field(0.1, ge=0, le=1)
    """Share of the predicted tokens that the model sees as another token; the rest it sees as they are."""
    z_loss: float = Field(0.0, ge=0)
    """Factor of the squared logarithm of the softmax's normaliser, added to the loss while training (PaLM)."""

    def check(self) -> None:
        """Refuse shares that are more than all."""
        if self.replace_ratio + self.random_ratio > 1:
            raise RecipeError(
                f"objective: {self.name}: replace_ratio {self.replace_ratio} and random_ratio {self.random_ratio} are "
                "more than 1 together; what they leave is seen as it is"
            )

    @property
    def needs_words(self) -> bool:
        """Whether the policy chooses by words."""
        return self.policy.needs_words

    @property
    def has_schedule(self) -> bool:
        """Whether the share of predictions moves."""
        return self.final_mask_ratio > 0

    def ratio(self, progress: float | None) -> float:
        """The share to predict at a point of the training, or in evaluation (None)."""
        if progress is None:
            return self.evaluation_mask_ratio
        return self.mask_ratio + progress * ((self.final_mask_ratio or self.mask_ratio) - self.mask_ratio)

    def mask(self, rows: Rows, vocabulary: Vocabulary) -> Masked:
        """Mask rows as the settings say."""
        return mask_tokens(
            rows,
            vocabulary,
            self.policy,
            mask_ratio=self.ratio(rows.progress),
            selection=self.selection,
            max_predictions=self.max_predictions,
            replace_ratio=self.replace_ratio,
            random_ratio=self.random_ratio,
        )
