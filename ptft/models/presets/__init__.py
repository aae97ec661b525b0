"""The family of presets: each file adds the shapes of one architecture."""

from ptft.family import Family
from ptft.models.preset import Preset

PRESETS: Family[Preset] = Family("preset", "ptft.models.presets", Preset)
