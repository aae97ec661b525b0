"""The family of masking policies: each file adds one way to choose the tokens that must be predicted."""

from ptft.family import Family
from ptft.objectives.policies.policy import MaskingPolicy

POLICIES: Family[type[MaskingPolicy]] = Family("masking policy", "ptft.objectives.policies", MaskingPolicy)
