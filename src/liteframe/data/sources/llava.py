"""Rows as LLaVA-Video-178K, ShareGPT and their kin write them, put into the fields of a manifest.

```
{"id": "ytb_1", "data_source": "0_30_s_youtube_v0_1", "video": "liwei/ytb_1.mp4",
 "conversations": [{"from": "human", "value": "<image>\\nWhat happens?"}, {"from": "gpt", "value": "..."}]}
{"videos": ["ytb_1.mp4"], "messages": [{"role": "user", "content": "<video>What happens?"}, ...]}
{"messages": [{"role": "user", "content": [{"type": "video", "video": "ytb_1.mp4"}, {"type": "text", ...}]}, ...]}
{"video": {"bytes": null, "path": "ytb_1.mp4"}}
```

The third is a conversation as Qwen-VL's tools take one, the last a column of videos as Hugging Face's `datasets` writes
it into Parquet.
"""

from __future__ import annotations

import reprlib
from typing import Any

from liteframe.data.sources.messages import says_the_same, video_said
from liteframe.data.sources.one_video import names_nothing
from liteframe.data.sources.part_names import part_of_item
from liteframe.errors import ManifestError

_OF_A_COLUMN = {"bytes", "path", "src"}
"""What the object of a video in a column of those has."""


def manifest_fields(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """`fields` with the row's video as `path` and its turns as `conversations`.

    A video stands in `video`, or in a `videos` of one; either may be empty beside the other. Where the row has a
    `data_source` and the root a folder of that name, the video is in there, as LLaVA-Video-178K is unpacked:
    `liteframe.data.sources.list_root` sees to that.

    Raises:
        ManifestError: the row names several videos, holds one itself, or says two things in fields of the same meaning.
    """
    fields = dict(fields)
    messages, conversations = fields.pop("messages", None), fields.get("conversations")
    if messages and conversations and not says_the_same(messages, conversations):
        raise ManifestError(f"{where}: fields 'conversations' and 'messages': say different things; keep one of them")
    if messages and not conversations:
        fields["conversations"] = messages
    named: dict[str, Any] = {name: fields.pop(name) for name in ("video", "videos") if name in fields}
    found: dict[str, Any] = {
        name: _only(video, f"{where}: field '{name}'") for name, video in named.items() if not names_nothing(video)
    }
    if not found and (said := video_said(fields.get("conversations"))) is not None:
        found["conversations"] = said
    paths = {name: _path_of(video, f"{where}: field '{name}'") for name, video in found.items()}
    if len({*paths.values()}) > 1:
        raise ManifestError(f"{where}: fields 'video' and 'videos': name different videos; keep one of them")
    if paths:
        fields["path"] = next(iter(paths.values()))
    return fields


def _only(video: Any, where: str) -> Any:
    """The one video of a list of one."""
    if not isinstance(video, list):
        return video
    if len(video) > 1 and all(isinstance(item, dict) and item.keys() - _OF_A_COLUMN for item in video):
        raise ManifestError(
            f"{where}: holds {len(video)} objects; if they are the rows, write these alone, one object a line"
        )
    if len(video) != 1:
        raise ManifestError(f"{where}: one video a row is needed, not {len(video)}; split the row or drop it")
    return video[0]


def _path_of(video: Any, where: str) -> str:
    if isinstance(video, dict):
        if video.get("bytes"):
            raise ManifestError(
                f"{where}: holds the video itself; write each one into a file of its own, and its path into the row"
            )
        if (part := part_of_item(video)) is not None:
            raise ManifestError(
                f"{where}: has a {part!r} of its own, and a part of the video is told by the row; write it into the"
                " row's 'start' and 'end', in seconds"
            )
        video = next((named for key in ("path", "src") if isinstance(named := video.get(key), str)), video)
    if not isinstance(video, str):
        raise ManifestError(f"{where}: the path of a video file is needed, not {reprlib.repr(video)}")
    return video
