"""What code calls on the logger itself: the calls of WandbLogger and of a SummaryWriter."""
