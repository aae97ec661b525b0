"""The family of actions: each file adds one verb of the command line that uses a model and needs no run folder."""

from ptft.actions.action import Action
from ptft.family import Family

ACTIONS: Family[type[Action]] = Family("action", "ptft.actions", Action)
