"""What an answer counts as by the rules in use, and what many of them say together."""
