"""Every setting, read once from the environment (songs_ai/env.py) and refused with the remedy when it can't be used.

The order of the imports is the order in which README.md and .env.example list the settings.
"""

# Django takes every upper-case name of this module, so each subject is taken whole (F403 is off for this file).
# isort: off
from .base import *
from .access import *
from .applications import *
from .stores import *
from .model import *
from .jobs import *
from .api import *
from .site import *
from .operators import *
# isort: on
