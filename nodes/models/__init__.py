"""Models as recipes, and the files of weights that they stand for; nothing of any one family."""
