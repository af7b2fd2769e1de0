"""Settings for every test: torch runs on one thread, so that results are the same on any machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
