"""A process for each camera's reader: forked from one that has everything loaded, and killed when it stalls."""
