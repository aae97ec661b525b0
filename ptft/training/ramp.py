"""A batch that grows: small ones early, when the gradient is plain anyway, the full one from some point on."""

from pydantic import Field

from ptft.config import Settings


class BatchRamp(Settings):
    """Rows of a step, growing on a straight line to the full number.

    Paper: Brown et al. 2020 (GPT-3), arXiv 2005.14165, appendix B. Differs: there the batch grows on a straight line
    over the first 4 to 12 billion tokens, here over a share of the steps.

    What a step reads follows from its number alone: the rows before it are an integral with a closed form.
    """

    start_ratio: float = Field(1.0, gt=0, le=1)
    """Share of ``rows_per_step`` in the first step; 1 for no ramp."""
    share: float = Field(0.5, gt=0, le=1)
    """Share of the steps after which the batch is full."""

    def rows_before(self, step: int, steps: int, full: int) -> int:
        """Rows of all steps before ``step`` of a training of ``steps`` with ``full`` rows at the end."""
        if self.start_ratio == 1:
            return step * full
        length = self.share * steps
        inside = min(step, length)
        grown = self.start_ratio * inside + (1 - self.start_ratio) * inside**2 / (2 * length)
        return round(full * (grown + step - inside))

    @property
    def fill(self) -> float:
        """Rows of the whole training as a share of what it would read without a ramp."""
        return 1 - self.share * (1 - self.start_ratio) / 2
