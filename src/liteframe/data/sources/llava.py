"""Rows as LLaVA-Video-178K, ShareGPT and their kin write them, put into the fields of a manifest.

```
{"id": "ytb_1", "data_source": "0_30_s_youtube_v0_1", "video": "liwei/ytb_1.mp4",
 "conversations": [{"from": "human", "value": "<image>\\nWhat happens?"}, {"from": "gpt", "value": "..."}]}
{"videos": ["ytb_1.mp4"], "messages": [{"role": "user", "content": "<video>What happens?"}, ...]}
{"video": {"bytes": null, "path": "ytb_1.mp4"}}
```

The last is a column of videos as Hugging Face's `datasets` writes it into Parquet.
"""

from __future__ import annotations

import reprlib
from typing import Any

from liteframe.errors import ManifestError


def manifest_fields(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """`fields` with the row's video as `path` and its turns as `conversations`.

    A video stands in `video`, or in a `videos` of one. Where the row has a `data_source` and the root a folder of that
    name, the video is in there, as LLaVA-Video-178K is unpacked: `liteframe.data.sources.list_root` sees to that.

    Raises:
        ManifestError: the row names several videos, or holds one itself.
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
            fields["path"] = _path_of(video, f"{where}: field '{name}'")
            break
    if "messages" in fields:
        fields.setdefault("conversations", fields.pop("messages"))
    return fields


def _path_of(video: Any, where: str) -> str:
    if isinstance(video, dict):
        if video.get("bytes"):
            raise ManifestError(
                f"{where}: holds the video itself; write each one into a file of its own, and its path into the row"
            )
        video = next((named for key in ("path", "src") if isinstance(named := video.get(key), str)), video)
    if not isinstance(video, str):
        raise ManifestError(f"{where}: the path of a video file is needed, not {reprlib.repr(video)}")
    return video
