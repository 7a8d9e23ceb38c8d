"""One thread: the models are tiny, and other processes share the cores."""

import torch

torch.set_num_threads(1)
