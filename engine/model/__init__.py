"""What a model holds between two steps, in memory and in checkpoints: its text, parameters and states."""
