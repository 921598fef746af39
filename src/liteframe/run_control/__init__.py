"""What keeps a run safe from outside: signals, ranks that freeze or die, and what is saved before it ends."""
