"""What a run takes at millions of clips: rates that are measured, and a simulation of the rest."""
