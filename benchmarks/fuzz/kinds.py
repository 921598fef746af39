"""All kinds of inputs, by name."""

from __future__ import annotations

from fuzz.checkpoints import Checkpoints
from fuzz.configs import Configs
from fuzz.lists import Lists
from fuzz.models import Models
from fuzz.stores import Stores
from fuzz.videos import Videos

KINDS = {
    "videos": Videos,
    "lists": Lists,
    "stores": Stores,
    "checkpoints": Checkpoints,
    "models": Models,
    "configs": Configs,
}
