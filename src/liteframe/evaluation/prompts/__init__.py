"""What is asked of a model, by name, as the harnesses of the field ask it (`prompts.toml`)."""
