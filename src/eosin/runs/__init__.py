"""What a finished training is: its card, its splits, who was seen."""
