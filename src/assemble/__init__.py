"""From settings (plain dictionaries) to what they describe, once, for whoever needs it: data, network,
validation, cached tokens."""
