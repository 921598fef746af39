"""From videos, images and a conversation to what `LiteFrameForConditionalGeneration` takes.

Prompts are text here, of any number of videos and images, as transformers' users write them. Training and chat take
token ids of one video from `PromptBuilder`, which keeps its parts apart: for labels, and for keys and values that
several questions share. The template's rendering and the wording of videos and images are the same functions.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from liteframe.data.sampling import FrameSampler, sampler_from
from liteframe.data.transforms import normalize
from liteframe.errors import ConfigError, DataError
from liteframe.hf.call_options import NOT_FOR_TEMPLATES, UNBOUNDED, for_calls, require_whole_videos
from liteframe.hf.frame_times import FrameRate, frame_rates
from liteframe.hf.inputs import list_of, read_image, read_video
from liteframe.models.folders.config_limits import require_sane
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.folders.strict import open_folder
from liteframe.models.video_llm.chat_template import render, require_bounded, template_of
from liteframe.models.video_llm.hosts import HOSTS, INTERNVL, Groups, Host, Wording, seconds_of_groups
from liteframe.system.own_folder import drop_listing

_RENDERED = "liteframe_text"


class LiteFrameProcessor(ProcessorMixin):
    """Frames to clips, and prompts with a position for every visual token that the LLM will see.

    A video becomes `Frame1: <img>...</img>` lines, one for each group of frames that a token spans, as in LMA; its
    last clip is filled up with its last frame. A still image is a clip of that image repeated, of which one group
    counts, in the base VLM's wording of an image: `<img>...</img>`.

    Args:
        tokenizer: the base VLM's.
        image_size: height and width in pixels that frames are squashed to.
        clip_frames: frames that the encoder takes together.
        tokens_per_clip: what the LLM sees of them.
        num_frames: frames taken of a video file, at most, unless a call says otherwise.
        sampler: name and settings of what chooses the frames, as `FrameSampler.describe` gives them; null is
            UniformMidpoints.
        base_vlm: family of the base VLM, by the `model_type` of its configs.
        chat_template: the base VLM's.
        frames_per_group: frames that a token spans; null is all of a clip.

    Raises:
        ConfigError: a number that no model has.
    """

    def __init__(
        self,
        tokenizer: Any = None,
        image_size: Any = (448, 448),
        clip_frames: int = 4,
        tokens_per_clip: int = 64,
        num_frames: int = 64,
        chat_template: str | None = None,
        frames_per_group: int | None = None,
        sampler: dict[str, Any] | None = None,
        base_vlm: str = INTERNVL.model_type,
    ) -> None:
        super().__init__(tokenizer, chat_template=chat_template)
        numbers = {"image_size": image_size, "clip_frames": clip_frames, "tokens_per_clip": tokens_per_clip}
        require_sane({**numbers, "num_frames": num_frames, "frames_per_group": frames_per_group}, "processor")
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.image_size = [height, width]
        self.clip_frames, self.tokens_per_clip, self.num_frames = clip_frames, tokens_per_clip, num_frames
        self.sampler = sampler
        self.frame_sampler()  # raises where there is none of these settings
        self.frames_per_group = clip_frames if frames_per_group is None else frames_per_group
        if base_vlm not in HOSTS:
            raise ConfigError(f"processor: base_vlm is {str(base_vlm)[:60]!r}; it must be one of {', '.join(HOSTS)}")
        self.base_vlm = base_vlm
        tokens = self.host.tokens_of(tokenizer)
        self.image_token: str = tokens["image_token"]
        for name, token in tokens.items():
            setattr(self, name, token)
        _ = self.wording  # raises where the tokenizer lacks a token

    @property
    def host(self) -> Host:
        """Family of the base VLM."""
        return HOSTS[self.base_vlm]

    @property
    def wording(self) -> Wording:
        """How videos are written."""
        return self.host.wording(self, f"{self.tokenizer.name_or_path}: the tokenizer")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As `ProcessorMixin.from_pretrained`, from files that are data.

        Raises:
            ConfigError: no such folder, a file that is no data, or a chat template that takes too much.
        """
        source = pretrained_model_name_or_path
        folder = open_folder(source, kwargs, weights=False)
        with named_errors(f"{source}: no processor can be read from here", "export or copy the folder again"):
            loaded = super().from_pretrained(str(folder), **{"trust_remote_code": False, **kwargs})
        processor: Any = loaded[0] if isinstance(loaded, tuple) else loaded
        require_bounded(template_of(processor, str(source)), str(source))
        return loaded

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """As `ProcessorMixin.save_pretrained`; a listing of what the folder held before goes."""
        drop_listing(save_directory)
        return super().save_pretrained(save_directory, *args, **kwargs)

    def apply_chat_template(self, conversation: Any, chat_template: str | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """As `ProcessorMixin.apply_chat_template`, with the template rendered in bounded time and memory.

        Raises:
            ConfigError: the template fails or takes too much, an option that would need it rendered otherwise, or a
                message that says which part or frames of its video are meant.
        """
        if asked := [name for name in UNBOUNDED if kwargs.get(name)]:
            raise ConfigError(f"{asked[0]} cannot be had of a {type(self).__name__}; leave it out")
        template = self._template(chat_template)
        if hasattr(self, "_normalize_conversations"):
            conversations, is_batched = self._normalize_conversations(conversation)
        else:  # the first versions of transformers 5 take them as they are
            is_batched = isinstance(conversation[0], (list, tuple))
            conversations = conversation if is_batched else [conversation]
        words = {name: value for name, value in kwargs.items() if name not in NOT_FOR_TEMPLATES}
        variables = {"tools": None, "documents": None, "add_generation_prompt": False}
        variables = {**variables, **self.tokenizer.special_tokens_map, **words}
        filled, asked_for = [], set()
        for messages in conversations:
            require_whole_videos(messages)
            text, names = render(template, messages, variables, self.tokenizer.name_or_path or "processor")
            # What is left for transformers to render is this text as it is.
            filled.append([{**messages[0], _RENDERED: text}, *messages[1:]])
            asked_for.update(names)
        others = {name: value for name, value in kwargs.items() if name not in words or name not in asked_for}
        others = {name: value for name, value in others.items() if name not in ("tools", "documents")}
        as_it_is = f"{{{{ messages[0]['{_RENDERED}'] }}}}"
        return super().apply_chat_template(filled if is_batched else filled[0], as_it_is, **for_calls(others))

    def _template(self, given: str | None) -> str:
        """The template of this name, or `given` itself where none is called so; of several, "default" by default."""
        named = self.chat_template if isinstance(self.chat_template, dict) else {"default": self.chat_template}
        template: str | None = named.get("default") if given is None else named.get(given, given)
        if template is None:
            others = f" called default, only {', '.join(sorted(named))}" if isinstance(self.chat_template, dict) else ""
            raise ConfigError(f"this processor has no chat template{others}; give chat_template")
        return template

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        videos: Any = None,
        num_frames: int | None = None,
        fps: float | None = None,
        video_fps: float | None = None,
        video_metadata: Any = None,
        padding: bool | str = True,
        padding_side: str = "left",
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Token ids and mask (B, L) of the prompts, and their pixels (clips, clip_frames, 3, height, width).

        Where a clip holds several groups of frames, also `clip_groups` (clips,): how many of them count, the first
        ones, as others hold nothing but what fills the clip up.

        Args:
            images: paths, pictures of PIL or uint8 arrays, one for each image token in the prompts, in their order;
                lists may be nested.
            text: prompts, as `apply_chat_template` writes them; without any, the clips alone.
            videos: paths, uint8 arrays (T, H, W, 3) or (T, 3, H, W), or lists of frames or of their pictures' paths,
                one for each video token; their lengths may differ.
            num_frames: frames to take of each video, spread evenly; by default `self.num_frames` of a file, and every
                frame of an array or list.
            fps: frames a second to take of each file, `num_frames` at most.
            video_fps: rate of arrays and lists of frames, for base VLMs whose prompts tell the second of each group.
            video_metadata: the same of each video, as transformers has it: dicts with `fps`, and with `frames_indices`
                where the frames are not all of the video's. Files tell their own times.
            padding, padding_side: of prompts of different lengths.
            return_tensors: "pt".
            kwargs: for the tokenizer.

        Raises:
            DataError: videos or images and their placeholders differ in number, or one of them cannot be used.
            ConfigError: tensors of another library.
        """
        if return_tensors != "pt":
            raise ConfigError(f"return_tensors is {return_tensors!r}; only 'pt' can be given")
        kwargs.pop("do_sample_frames", None)  # apply_chat_template adds it
        shown = list_of("video", videos)
        rates = frame_rates(len(shown), video_fps, video_metadata)
        visuals = {"image": list_of("image", images), "video": [*zip(shown, rates, strict=True)]}
        clips: list[Tensor] = []
        clip_groups: list[int] = []

        def add(kind: str, visual: Any) -> str:
            if kind == "image":
                self._require_pictures()
                frames_TCHW, times_s = read_image(visual, self._size), None
            else:
                frames_TCHW, times_s = self._video(visual[0], visual[1], num_frames, fps)
            clips_of_it, counts = self.clips_of(frames_TCHW)
            clips.append(clips_of_it)
            clip_groups.extend(counts)
            return self.text_of(kind, self._groups(sum(counts), times_s) if text is not None else sum(counts))

        data: dict[str, Any] = {}
        if text is None:
            for kind, given in visuals.items():
                for visual in given:
                    add(kind, visual)
        else:
            prompts = self._fill([text] if isinstance(text, str) else list(text), visuals, add)
            data = dict(
                # As in LMA, where templates alone write special tokens.
                self.tokenizer(
                    prompts,
                    padding=padding,
                    padding_side=padding_side,
                    return_tensors=return_tensors,
                    **{"add_special_tokens": False, **kwargs},
                )
            )
        if clips:
            data["pixel_values_videos"] = normalize(torch.cat(clips))
            if self.frames_per_group != self.clip_frames:
                data["clip_groups"] = torch.tensor(clip_groups)
        return BatchFeature(data)

    def _fill(self, texts: list[str], visuals: dict[str, list[Any]], add: Any) -> list[str]:
        """The prompts with each token of an image or video replaced by its positions."""
        tokens = {"image": self.image_token, "video": self.wording.video_token}
        texts = [self.wording.bare(text) for text in texts]
        for kind, token in tokens.items():
            places = sum(text.count(token) for text in texts)
            if places != len(visuals[kind]):
                raise DataError(
                    f"{len(visuals[kind])} {kind}s for {places} {token} in the prompts; write prompts with"
                    " apply_chat_template, and give as many"
                )
        pattern = re.compile("|".join(f"(?P<{kind}>{re.escape(token)})" for kind, token in tokens.items()))
        queues = {kind: iter(given) for kind, given in visuals.items()}

        def places_of(match: re.Match[str]) -> str:
            kind = str(match.lastgroup)
            return str(add(kind, next(queues[kind])))

        return [pattern.sub(places_of, text) for text in texts]

    def _groups(self, count: int, times_s: Any) -> Groups:
        """So many groups of frames, as the prompts of the base VLM tell of them."""
        if not self.host.timed:
            return count
        if times_s is None:
            raise DataError(
                f"prompts of a {self.host.name} tell the second of each group of frames; give video_fps, the rate of"
                " the frames in the array, or video_metadata"
            )
        return seconds_of_groups(times_s, self.frames_per_group)

    def _require_pictures(self) -> None:
        if not self.host.pictures:
            raise DataError(f"this export, of a {self.host.name}, takes videos alone; leave images out")

    def _video(
        self, video: Any, rate: FrameRate | None, num_frames: int | None, fps: float | None
    ) -> tuple[Tensor, np.ndarray | None]:
        if num_frames is None and isinstance(video, (str, os.PathLike)):
            num_frames = self.num_frames
        return read_video(video, self._size, num_frames, fps, self.frame_sampler(), rate)

    def clips_of(self, frames_TCHW: Tensor) -> tuple[Tensor, list[int]]:
        """Whole clips (clips, clip_frames, 3, height, width), and how many groups of each count.

        The last clip is filled up with the last frame; groups that hold nothing else do not count.
        """
        missing = -len(frames_TCHW) % self.clip_frames
        filled = torch.cat([frames_TCHW, frames_TCHW[-1:].expand(missing, -1, -1, -1)])
        groups, most = -(-len(frames_TCHW) // self.frames_per_group), self.clip_frames // self.frames_per_group
        return filled.unflatten(0, (-1, self.clip_frames)), [min(most, groups - n) for n in range(0, groups, most)]

    def text_of(self, kind: str, groups: Groups) -> str:
        """What stands in a prompt for an image or a video of such groups of frames."""
        tokens, wording = self.tokens_per_group, self.wording
        return wording.image_text(tokens) if kind == "image" else wording.video_text(groups, tokens)

    @property
    def tokens_per_group(self) -> int:
        """What the LLM sees of the frames that a token spans."""
        return self.tokens_per_clip * self.frames_per_group // self.clip_frames

    def frame_sampler(self) -> FrameSampler | None:
        """What `sampler` describes; None where nothing is described. Raises ConfigError for settings of none."""
        where = f"{self.tokenizer.name_or_path}: sampler of the processor"
        return None if self.sampler is None else sampler_from(self.sampler, where, ConfigError)

    @property
    def _size(self) -> tuple[int, int]:
        return self.image_size[0], self.image_size[1]

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a call gives."""
        grouped = ["clip_groups"] if self.frames_per_group != self.clip_frames else []
        return [*self.tokenizer.model_input_names, "pixel_values_videos", *grouped]
