"""Words of a latency record that its page reads: how a stage was computed, why a cell was not run.

What writes the record (`liteframe.bench.real_size`) takes them from here; nothing here needs torch.
"""

from __future__ import annotations

BY_THE_FRAME = "by the frame"
"""Begins the note of a stage of the encoder, scaled from fewer frames."""
AT_RATE = "operations over the rate"
"""Begins the note of a prefill between the lengths that were timed, or shorter than all of them."""
FITTED = "layers and attention at a rate each"
"""Begins the note of a prefill longer than any that was timed, from all lengths."""
LONGER = "longer than any that was run"
"""Begins the note of a prefill longer than any that was timed, from the longest alone."""
NO_TIME = "time budget"
"""Why a cell was not run."""
