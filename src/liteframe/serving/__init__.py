"""`liteframe serve`: a Video LLM behind OpenAI's chat-completions API.

transformers' server is not used: its handler decodes videos and writes prompts on the event loop, where all other
requests wait for one; its errors are HTTP 500, and what it does not support it ignores; it has no bound on what waits
for the model, no key, and says nothing about where videos may come from.
"""
