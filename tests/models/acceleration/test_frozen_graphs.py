"""Encoders compiled with their weights as constants: the same tokens, never stale ones, and as they are elsewhere."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from liteframe.models.acceleration import frozen_graphs
from liteframe.models.acceleration.compiled_layers import CompiledOrNot
from liteframe.models.acceleration.fallback import FallbackWarning
from liteframe.models.acceleration.frozen_graphs import FrozenGraphs
from liteframe.models.backbone import VisionTokens
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.teachers import InternVLTeacher
from liteframe.tiny.models import build_tiny_base_vlm
from small_students import small_student


class Constants:
    """A backend that keeps the weights as they are when it compiles, as freezing does, and runs the graph as it is.

    Attributes:
        batches: first axis of what each graph was run with.
        graphs: how many there are.
    """

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        kept = copy.deepcopy(graph)
        self.graphs += 1

        def run(*args: Tensor) -> Any:
            (tensor,) = (arg for arg in args if isinstance(arg, Tensor))  # the weights are none of them
            self.batches.append(len(tensor))
            return kept(*args)

        return run


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Constants]:
    made = Constants()
    monkeypatch.setattr(frozen_graphs, "CompiledOrNot", partial(CompiledOrNot, backend=made, fullgraph=True))
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def video(batch: int, frames: int, side: int = 28) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, 256, (batch, frames, 3, side, side), generator=generator, dtype=torch.uint8)


def tokens(model: nn.Module, frames_BTCHW: Tensor) -> Tensor:
    with torch.inference_mode():
        out: Tensor = model(frames_BTCHW).last_hidden_state
    return out


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_whole_chunks_run_compiled_and_the_rest_as_it_is(backend: Constants) -> None:
    model, plain = small_student(), small_student()
    graphs = model.freeze_chunks(2)
    for shape, chunks in (((1, 3), 0), ((1, 8), 1), ((2, 17), 5), ((1, 9), 1)):
        backend.batches.clear()
        assert_same(tokens(model, video(*shape)), tokens(plain, video(*shape)))
        assert backend.batches == [2] * chunks, shape
    assert backend.graphs == 1 and not graphs.failed


def test_weights_that_have_changed_are_seen(backend: Constants) -> None:
    model, plain = small_student(), small_student()
    model.freeze_chunks(1)
    tokens(model, video(1, 4))
    changes: tuple[Callable[[LiteFrameEncoder], Any], ...] = (
        lambda one: one.load_state_dict({name: 0.5 * value for name, value in one.state_dict().items()}),
        lambda one: setattr(one.head, "bias", nn.Parameter(torch.ones(8))),
        lambda one: setattr(one.head.weight, "data", one.head.weight.data * 2),
    )
    for count, change in enumerate(changes, start=2):
        for one in (model, plain):
            with torch.no_grad():
                change(one)
        assert_same(tokens(model, video(1, 4)), tokens(plain, video(1, 4)))
        assert backend.graphs == count
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.bias.add_(1.0)
    assert_same(tokens(twin, video(1, 4)) - tokens(model, video(1, 4)), torch.ones(1, 1, *model_grid(model), 8))


@pytest.mark.parametrize("mode", ["in training", "in eval mode", "by gradients from elsewhere"])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_steps_of_fused_optimizers_are_seen(backend: Constants, optimizer: Any, mode: str) -> None:
    model, plain = small_student(), small_student()
    model.freeze_chunks(1)
    tokens(model, video(1, 4))
    for one in (model, plain):
        if mode != "in eval mode":
            one.train()
        if mode == "by gradients from elsewhere":
            for parameter in one.parameters():
                parameter.grad = torch.ones_like(parameter)
        else:
            one(video(1, 4)).last_hidden_state.square().mean().backward()
        optimizer(one.parameters(), lr=0.1, fused=True).step()
        one.eval()
    assert_same(tokens(model, video(1, 4)), tokens(plain, video(1, 4)))
    assert backend.graphs == 2


def test_weights_made_in_inference_mode_are_not_kept_as_they_were(backend: Constants) -> None:
    with torch.inference_mode():
        model = small_student()
    graphs = model.freeze_chunks(1)
    with pytest.warns(FallbackWarning, match=r"made in inference mode.*load and convert the model outside") as told:
        before = tokens(model, video(2, 4))
    with torch.inference_mode():
        model.head.bias.add_(1.0)
    assert_same(tokens(model, video(2, 4)), before + 1.0)
    assert len(told) == 1 and graphs.failed and backend.graphs == 0


def model_grid(model: LiteFrameEncoder) -> tuple[int, int]:
    rows, columns = tokens(model, video(1, 4)).shape[2:4]
    return rows, columns


def test_training_gradients_hooks_and_other_numbers_of_threads_run_as_they_are(
    backend: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = small_student(), small_student()
    model.freeze_chunks(1)
    for one in (model.train(), plain.train()):
        one(video(1, 4)).last_hidden_state.square().sum().backward()
    for parameter, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert parameter.grad is not None and expected.grad is not None
        assert_same(parameter.grad, expected.grad)
    tokens(model, video(1, 4))  # in training still
    model.eval()
    seen: list[nn.Module] = []
    hook = register_module_forward_pre_hook(lambda module, _: seen.append(module))
    tokens(model, video(1, 4))  # a hook of all modules would become a part of the code
    hook.remove()
    assert model.blocks[0] in seen
    hook = model.blocks[0].register_forward_hook(lambda *_: seen.clear())
    tokens(model, video(1, 4))
    hook.remove()
    assert seen == []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 99)
        tokens(model, video(1, 4))
    assert backend.graphs == 0
    tokens(model, video(1, 4))
    assert backend.graphs == 1


def test_sizes_beyond_a_few_are_not_compiled(backend: Constants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_graphs, "_MOST", 1)
    model, plain = small_student(), small_student()
    model.freeze_chunks(1)
    for side in (28, 56, 28):
        assert_same(tokens(model, video(1, 4, side)), tokens(plain, video(1, 4, side)))
    assert backend.graphs == 1 and len(backend.batches) == 2


def test_a_compiler_that_fails_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    monkeypatch.setattr(frozen_graphs, "CompiledOrNot", partial(CompiledOrNot, backend=failing))
    model, plain = small_student(), small_student()
    graphs = model.freeze_chunks(1)
    with pytest.warns(FallbackWarning, match=r"torch.compile is left out, as it failed: .*no C\+\+ compiler") as told:
        assert_same(tokens(model, video(2, 12)), tokens(plain, video(2, 12)))
    assert len(told) == 1 and graphs.failed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokens(model, video(1, 4, 56))


def test_a_teacher_gives_all_that_it_gave(backend: Constants) -> None:
    base_vlm, _ = build_tiny_base_vlm()
    plain = InternVLTeacher.from_host(base_vlm)
    teacher = copy.deepcopy(plain)
    teacher.freeze_frames(2)
    side = plain.image_size[0]
    for shape in ((1, 1), (1, 5), (2, 3)):
        found, expected = teacher(video(*shape, side)), plain(video(*shape, side))
        assert isinstance(found, VisionTokens) and found.saliencies == expected.saliencies
        assert found.cls_BTC is not None and expected.cls_BTC is not None
        assert_same(found.tokens_BTHWC, expected.tokens_BTHWC)
        assert_same(found.cls_BTC, expected.cls_BTC)
    assert backend.batches == [2, 2, 2, 2, 2] and backend.graphs == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_compiler_of_torch_gives_the_same_tokens(dtype: torch.dtype | None) -> None:
    torch._dynamo.reset()
    model, plain = small_student(), small_student()
    graphs = model.freeze_chunks(1)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        found, expected = tokens(model, video(1, 6)), tokens(plain, video(1, 6))
    limit = 1e-5 if dtype is None else 1e-2
    assert not graphs.failed
    assert float((found.float() - expected.float()).abs().max() / expected.float().abs().max()) < limit


def test_deep_copies_compile_for_themselves() -> None:
    graphs = FrozenGraphs(3)
    assert copy.deepcopy(graphs) is not graphs and copy.deepcopy(graphs).batch == 3
