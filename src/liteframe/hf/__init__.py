"""liteframe in transformers: after `import liteframe.hf` its Auto classes load what liteframe exports.

    import liteframe.hf
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained("exported")
    processor = AutoProcessor.from_pretrained("exported")

`AutoModelForMultimodalLM` loads the same model, and so do the pipelines "image-text-to-text" and "any-to-any".
`AutoModel` loads an encoder on its own. `import liteframe` registers nothing, so that it stays cheap.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoProcessor

from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder

__all__ = [
    "LiteFrameConfig",
    "LiteFrameEncoder",
    "LiteFrameForConditionalGeneration",
    "LiteFrameProcessor",
    "LiteFrameVideoConfig",
]

AutoConfig.register(LiteFrameConfig.model_type, LiteFrameConfig)
AutoModel.register(LiteFrameConfig, LiteFrameEncoder)
AutoConfig.register(LiteFrameVideoConfig.model_type, LiteFrameVideoConfig)
AutoModelForImageTextToText.register(LiteFrameVideoConfig, LiteFrameForConditionalGeneration)
AutoModelForMultimodalLM.register(LiteFrameVideoConfig, LiteFrameForConditionalGeneration)
AutoProcessor.register(LiteFrameVideoConfig, LiteFrameProcessor)
