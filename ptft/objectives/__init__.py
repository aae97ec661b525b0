"""The family of objectives: each file adds one way to make targets and a loss from a compiled corpus."""

from ptft.family import Family
from ptft.objectives.objective import Objective

OBJECTIVES: Family[type[Objective]] = Family("objective", "ptft.objectives", Objective)
