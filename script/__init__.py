"""The commands that train, evaluate and prepare: each file runs as `python script/NAME.py`, too."""
