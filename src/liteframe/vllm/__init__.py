"""Exported models in vLLM: `plugin` is what vLLM finds there; every other module here needs vLLM."""
