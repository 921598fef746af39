"""LiteFrame's student encoder as a Hugging Face model (paper, section 4.1): a ViT-Base/14 that drops tokens on its way.

A clip of 4 frames of 448 px has 4 x 32 x 32 tokens (frames, rows, columns), 2 x 16 x 16 after block 4 and 1 x 16 x 16
after block 8; it leaves in the teacher's feature space, before the base VLM's pixel shuffle. Clips do not see each
other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from liteframe.errors import ConfigError, GeometryError
from liteframe.models.acceleration.cuda_graphs import CUDAGraphs
from liteframe.models.acceleration.frozen_graphs import FrozenGraphs
from liteframe.models.clip_chunks import CLIPS_AT_ONCE, encode_chunks, encode_clips, encode_equal_chunks
from liteframe.models.folders.strict import StrictPreTrainedModel
from liteframe.models.gradient_checkpointing import checkpoint_layers, checkpointed
from liteframe.models.student.encoder_config import LiteFrameConfig
from liteframe.models.student.self_attention import ZeroLinear
from liteframe.models.student.temporal import (
    WITH_FRAME_POSITIONS,
    DepthwiseTemporalConv,
    FramePositions,
    StridedDownsample,
    TemporalMixer,
)
from liteframe.models.student.vit import PatchEmbedding, TransformerBlock, sincos_positions
from liteframe.ops.pooling import check_size

__all__ = ["LiteFrameConfig", "LiteFrameEncoder", "LiteFrameOutput"]


@dataclass
class LiteFrameOutput(ModelOutput):
    """What the encoder gives.

    Attributes:
        last_hidden_state: ``(B, T', H', W', output_size)``, in the teacher's feature space; T' counts groups of
            ``stride[0]`` frames (one group a clip in the paper). Groups that are all padding are cut off.
        valid_frames: ``(B,)`` int64, how many input frames are real; the rest repeat the last one.
    """

    last_hidden_state: Tensor | None = None
    valid_frames: Tensor | None = None


class LiteFrameEncoder(StrictPreTrainedModel):
    """The student: frames to compressed tokens in the teacher's feature space, clip by clip."""

    config_class = LiteFrameConfig
    config: LiteFrameConfig
    base_model_prefix = "encoder"
    main_input_name = "frames_BTCHW"
    supports_gradient_checkpointing = True
    chunk_clips: int | None = None
    checkpoint_chunks = False
    _compiled: Callable[..., Tensor] | None = None
    _graphs: CUDAGraphs | FrozenGraphs | None = None
    _supports_sdpa = True
    _no_split_modules = ["TransformerBlock"]  # noqa: RUF012 (the base class declares it so)

    def __init__(self, config: LiteFrameConfig) -> None:
        super().__init__(config)
        sizes = iter(config.stage_sizes)
        width = next(sizes)
        # Read once: attributes of a transformers config are slow, and forward has to be quick on eight frames.
        self.clip_frames, self.patch_size, self.in_channels = config.clip_frames, config.patch_size, config.num_channels
        self.size_multiple, self.frames_per_group = config.size_multiple, config.stride[0]
        self.tubelet_frames = config.tubelet_frames
        channels = config.tubelet_frames * config.num_channels
        self.patch_embedding = PatchEmbedding(config.image_size, config.patch_size, channels, width)
        self.residual_in_fp32 = config.residual_in_fp32
        frames = config.clip_frames // config.tubelet_frames
        attends = config.temporal_mixer in WITH_FRAME_POSITIONS and frames > 1
        self.frame_positions = FramePositions(frames, width) if attends else None
        self.blocks = nn.ModuleList()
        self.downsamples = nn.ModuleDict()
        strides = dict(zip(config.downsample_after, config.downsample_strides, strict=True))
        for depth in range(config.num_hidden_layers + 1):
            if depth:
                self.blocks.append(self._block(width, frames))
            if depth in strides:
                t, h, w = strides[depth]
                narrow, width = width, next(sizes)
                self.downsamples[str(depth)] = StridedDownsample(narrow, (t, h, w), width)
                frames //= t
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.head = nn.Linear(width, config.output_size)
        self.post_init()
        for module in self.modules():  # transformers asks about no module that has no weights of its own
            if isinstance(module, TemporalMixer):
                for parameter in module.starting_at_zero():
                    parameter.data.zero_()

    def _block(self, width: int, frames: int) -> TransformerBlock:
        config = self.config
        return TransformerBlock(
            channels=width,
            heads=width * config.num_attention_heads // config.hidden_size,
            mlp_channels=int(width * config.mlp_ratio),
            frames=frames,
            mixer=config.temporal_mixer,
            mixer_kernel=config.temporal_kernel,
            norm_eps=config.layer_norm_eps,
            qkv_bias=config.qkv_bias,
            attention=config.attention,
        )

    def save_memory(self, chunk_clips: int | None = None, checkpoint: bool = False) -> None:
        """Bounds the memory of activations; no output and no gradient changes, as clips do not see each other.

        Args:
            chunk_clips: clips of a batch that are encoded at a time; None is all of them.
            checkpoint: gradient checkpointing, in training: activations are computed again in the backward pass, chunk
                after chunk, so that those of one chunk are held at a time; without chunks, layer after layer.

        Raises:
            ConfigError: `chunk_clips` below 1.
        """
        if chunk_clips is not None and chunk_clips < 1:
            raise ConfigError(f"chunk_clips is {chunk_clips}; give 1 or more clips, or null for all at a time")
        self.chunk_clips, self.checkpoint_chunks = chunk_clips, checkpoint and chunk_clips is not None
        if checkpoint and chunk_clips is None:
            checkpoint_layers(self)

    def compile_chunks(self, chunk_clips: int = CLIPS_AT_ONCE, **options: Any) -> None:
        """Compiles the encoder for chunks of so many clips: one graph, whatever the number of frames and videos.

        Compiled as a whole (`torch.compile(encoder)`) it is compiled again for other numbers of frames. The last chunk
        is filled up, so chunks of many clips cost time on short videos.

        Args:
            chunk_clips: clips of a batch that are encoded at a time.
            options: of `torch.compile`.

        Raises:
            ConfigError: `chunk_clips` below 1.
        """
        self.save_memory(chunk_clips)
        # Not of this encoder's own method: a copy of the encoder is to be encoded by its own weights.
        self._compiled, self._graphs = torch.compile(type(self)._encode, dynamic=False, **options), None

    def graph_chunks(self, chunk_clips: int = CLIPS_AT_ONCE) -> None:
        """Replays CUDA graphs where no gradient is wanted, one for each number of clips up to so many.

        It saves the time in which the CPU launches kernels, which is that of a short video. Elsewhere than on CUDA, and
        where a capture fails, the encoder runs as before.

        Args:
            chunk_clips: clips of a batch that are encoded at a time.

        Raises:
            ConfigError: `chunk_clips` below 1.
        """
        self.save_memory(chunk_clips)
        self._graphs, self._compiled = CUDAGraphs(), None

    def freeze_chunks(self, chunk_clips: int = 1) -> FrozenGraphs:
        """Compiles the encoder with its weights as constants, where no gradient is wanted: see `FrozenGraphs`.

        Chunks that have fewer clips run as before.

        Args:
            chunk_clips: clips of a batch that are encoded at a time.

        Raises:
            ConfigError: `chunk_clips` below 1.
        """
        self.save_memory(chunk_clips)
        self._graphs, self._compiled = FrozenGraphs(chunk_clips), None
        return self._graphs

    def fuse_temporal(self, fused: bool = True) -> None:
        """Whether depth-wise mixers run as a Triton kernel on CUDA, where no gradient is wanted.

        Off unless asked for: its results are rounded once where torch's are rounded twice.

        Raises:
            ConfigError: Triton is not installed.
        """
        if fused and importlib.util.find_spec("triton") is None:
            raise ConfigError("the fused temporal convolution needs Triton, which comes with torch for CUDA on Linux")
        for module in self.modules():
            if isinstance(module, DepthwiseTemporalConv):
                module.fused = fused

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        if isinstance(self._graphs, CUDAGraphs):
            self._graphs.forget()  # they read the weights where those lay
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True) -> LiteFrameEncoder:
        if mode and isinstance(self._graphs, FrozenGraphs):
            self._graphs.forget()  # fused optimizers write to weights unnoticed
        return super().train(mode)

    def forward(self, frames_BTCHW: Tensor, valid_frames_B: Tensor | None = None) -> LiteFrameOutput:
        """Encode videos of any number of frames; the last clip is filled up with the last frame.

        Args:
            frames_BTCHW: pixels, uint8 or normalised as ImageNet is; height and width multiples of
                ``config.size_multiple``.
            valid_frames_B: frames that are real, where the caller has padded already (by repeating the last frame,
                as here); passed on to the output. None means all.

        Raises:
            GeometryError: a shape or size that the encoder cannot take; the message names the nearest legal one.
        """
        self._check_frames(frames_BTCHW, valid_frames_B)
        batch, frames = frames_BTCHW.shape[:2]
        if self._compiled is not None:
            features = encode_equal_chunks(self._encode_chunk, frames_BTCHW, self.clip_frames, self.chunk_clips or 1)
        elif self._graphs is not None:
            at_once = self._graphs.batch if isinstance(self._graphs, FrozenGraphs) else self.chunk_clips or 1
            features = encode_clips(partial(self._graphs, self._encode), frames_BTCHW, self.clip_frames, at_once)
        else:
            features = encode_chunks(self._encode_chunk, frames_BTCHW, self.clip_frames, self.chunk_clips)
        features = features[:, : -(-frames // self.frames_per_group)]
        if valid_frames_B is None:
            valid_frames_B = torch.full((batch,), frames, dtype=torch.int64, device=frames_BTCHW.device)
        return LiteFrameOutput(last_hidden_state=features, valid_frames=valid_frames_B)

    def _encode_chunk(self, frames_BTCHW: Tensor) -> Tensor:
        encode = self._encode if self._compiled is None else partial(self._compiled, self)
        if self.checkpoint_chunks and self.training and torch.is_grad_enabled():
            return checkpointed(encode, frames_BTCHW)
        return encode(frames_BTCHW)

    def _encode(self, frames_BTCHW: Tensor) -> Tensor:
        """Frames of whole clips, but for the last, to features ``(B, T', H', W', output_size)``."""
        batch = frames_BTCHW.shape[0]
        grid = (self.clip_frames // self.tubelet_frames, *(side // self.patch_size for side in frames_BTCHW.shape[3:]))
        tokens = self._residual(self._embed(frames_BTCHW))
        if self.frame_positions is not None:
            tokens = self.frame_positions(tokens)
        tokens, grid = self._downsample(0, tokens, grid)
        for depth, block in enumerate(self.blocks, start=1):
            tokens, grid = self._downsample(depth, block(tokens), grid)
        return self.head(self.norm(tokens)).view(batch, -1, *grid[1:], self.head.out_features)

    def _embed(self, frames_BTCHW: Tensor) -> Tensor:
        """Patch tokens ``(B * T, N, C)`` of whole clips; T counts tubelets."""
        batch, frames = frames_BTCHW.shape[:2]
        missing = -frames % self.clip_frames
        if self.tubelet_frames > 1:
            if missing:
                last = frames_BTCHW[:, -1:].expand(-1, missing, -1, -1, -1)
                frames_BTCHW = torch.cat([frames_BTCHW, last], dim=1)
            # The frames of a tubelet are so many images' channels.
            return self.patch_embedding(
                frames_BTCHW.unflatten(1, (-1, self.tubelet_frames)).flatten(2, 3).flatten(0, 1)
            )
        tokens = self.patch_embedding(frames_BTCHW.flatten(0, 1))
        if not missing:
            return tokens
        # Repeating the embedded frame is repeating the frame, for a fraction of the bytes.
        tokens_BTNC = tokens.unflatten(0, (batch, frames))
        last = tokens_BTNC[:, -1:].expand(-1, missing, -1, -1)
        return torch.cat([tokens_BTNC, last], dim=1).flatten(0, 1)

    def _downsample(self, depth: int, tokens: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
        """Tokens behind the strided convolution that stands there, if one does, and frames, rows and columns left."""
        if str(depth) not in self.downsamples:
            return tokens, grid
        merged_BTHWC = self.downsamples[str(depth)](tokens.reshape(-1, *grid, tokens.shape[-1]))
        return self._residual(merged_BTHWC.flatten(2, 3).flatten(0, 1)), tuple(merged_BTHWC.shape[1:4])

    def _residual(self, tokens: Tensor) -> Tensor:
        """The tokens in the dtype that blocks add to."""
        return tokens.to(self.norm.weight.dtype) if self.residual_in_fp32 else tokens

    def _check_frames(self, frames_BTCHW: Tensor, valid_frames_B: Tensor | None) -> None:
        shape = tuple(frames_BTCHW.shape)
        if len(shape) != 5:
            raise GeometryError(f"frames must have the axes (B, T, C, H, W), got shape {shape}")
        if shape[0] < 1 or shape[1] < 1:
            raise GeometryError(f"frames of shape {shape} hold no frame: batch and T must be at least 1")
        if shape[2] != self.in_channels:
            raise GeometryError(f"frames have {shape[2]} channels, the encoder takes {self.in_channels}")
        if not frames_BTCHW.is_floating_point() and frames_BTCHW.dtype != torch.uint8:
            raise GeometryError(f"frames are {frames_BTCHW.dtype}; give uint8 pixels, or normalised ones in float32")
        if frames_BTCHW.dtype == torch.uint8 and self.in_channels != 3:
            raise GeometryError(
                f"uint8 pixels are normalised by the means of 3 colours; give frames of {self.in_channels} channels"
                " normalised, in float32"
            )
        if valid_frames_B is not None and valid_frames_B.shape != shape[:1]:
            raise GeometryError(f"valid_frames_B has shape {tuple(valid_frames_B.shape)}, expected {shape[:1]}")
        check_size(shape[3], shape[4], self.size_multiple)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PatchEmbedding):
            if self.config.position_init == "sincos":
                waves_a_side = module.position.shape[-1] // 4
                rates_F = 10000.0 ** (-torch.arange(waves_a_side, dtype=torch.float32) / waves_a_side)
                waves = sincos_positions(*module.grid, rates_F)
                init.copy_(module.position, waves * self.config.position_scale)
            else:
                init.normal_(module.position, std=self.config.initializer_range)
        elif isinstance(module, StridedDownsample):
            # Nearly the mean of the block; the noise lets the taps of a channel part.
            share = 1 / prod(module.stride)
            init.normal_(module.weight, mean=share, std=0.1 * share)
            init.zeros_(module.bias)
        elif isinstance(module, FramePositions):
            init.zeros_(module.weight)
        elif isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
