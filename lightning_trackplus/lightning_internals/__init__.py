"""Every private name of Lightning and torchmetrics that the package uses, one small function each."""
