"""The callbacks that attach the package to a Trainer."""
