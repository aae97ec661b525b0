"""The family of optimizers."""

from ptft.family import Family
from ptft.optim.optimizer import OptimizerSettings

OPTIMIZERS: Family[type[OptimizerSettings]] = Family("optimizer", "ptft.optim.optimizers", OptimizerSettings)
