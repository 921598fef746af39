"""Rows as LLaVA-Video-178K, ShareGPT and their kin write them, put into the fields of a manifest.

```
{"id": "ytb_1", "data_source": "0_30_s_youtube_v0_1", "video": "liwei/ytb_1.mp4",
 "conversations": [{"from": "human", "value": "<image>\\nWhat happens?"}, {"from": "gpt", "value": "..."}]}
{"videos": ["ytb_1.mp4"], "messages": [{"role": "user", "content": "<video>What happens?"}, ...]}
```
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from liteframe.data.remote_file import is_url
from liteframe.errors import ManifestError


def manifest_fields(fields: dict[str, Any], where: str, root: str) -> dict[str, Any]:
    """`fields` with the row's video as `path` and its turns as `conversations`.

    A video stands in `video`, or in a `videos` of one. Where the row has a `data_source` and `root` a folder of that
    name, the video is looked for in there, as LLaVA-Video-178K is unpacked.

    Raises:
        ManifestError: the row names several videos.
    """
    fields = dict(fields)
    for name in ("video", "videos"):
        video = fields.pop(name, None)
        if isinstance(video, list):
            if len(video) != 1:
                raise ManifestError(
                    f"{where}: field '{name}': one video a row is needed, not {len(video)}; split the row or drop it"
                )
            video = video[0]
        if video is not None:
            fields["path"] = _in_data_source(video, fields.get("data_source"), root)
            break
    if "messages" in fields:
        fields.setdefault("conversations", fields.pop("messages"))
    return fields


def _in_data_source(video: Any, data_source: Any, root: str) -> Any:
    if not (isinstance(video, str) and isinstance(data_source, str)) or not video or is_url(video) or is_url(root):
        return video
    return os.path.join(data_source, video) if _is_folder(os.path.join(root, data_source)) else video


@lru_cache(maxsize=1024)
def _is_folder(path: str) -> bool:
    return os.path.isdir(path)
