"""Valid and effective receptive fields (Figure 3): the maps and their figure."""
