"""The top level of a configuration: its groups, and the settings beside them."""

CHOICES = ("model", "loss", "dataset", "augment", "optimizer", "device", "experiment")  # groups of which one is chosen
NODES = tuple(group for group in CHOICES if group != "experiment")  # those that are a key of the composed configuration
SETTINGS = ("name", "study", "seed")
TOP_LEVEL = (*SETTINGS, "train", "metric", *NODES)
