"""How fast this is, beside plain baselines and what the machine can do."""
