"""The family of fine-tuning policies."""

from ptft.family import Family
from ptft.finetuning.policy import Policy

POLICIES: Family[type[Policy]] = Family("fine-tuning policy", "ptft.finetuning.policies", Policy)
